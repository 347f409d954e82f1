import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { decodeGroup } from "../../src/rollout/encode-group.ts";
import type { Database } from "../../src/store/database.ts";
import { recordFeedback } from "../../src/trajectory/feedback.ts";
import { loadGroups } from "../../src/training/iteration.ts";
import { handOver, plainManifest } from "../../src/training/hand-over.ts";
import { checkIn } from "../../src/transport/claim.ts";
import { protobuf, traceRequest } from "../fixtures/otlp/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { conversation, filesWith, hexOf, spanOf, START_MS, showPictures, subjectWorld, tablesWith, type SubjectWorld } from "./world.ts";

const directory = mkdtempSync(join(tmpdir(), "nightshift-erase-"));
let database: Database;
let world: SubjectWorld;
beforeAll(async () => {
  database = await memoryDatabase();
  world = await subjectWorld(database, directory);
});
afterAll(async () => {
  await world.close();
  await database.close();
  rmSync(directory, { recursive: true });
});

const erase = (...subjects: string[]) => world.eraser.erase({ tenant: "default", subjects, actor: "tester" });
const spansOf = async (trace: string) =>
  (await database.kysely.selectFrom("spans").select("span_id").where("trace_id", "=", hexOf(trace, 32)).execute()).length;
async function batch(runId: string, iteration: number, content: string): Promise<string> {
  const path = join(world.runsDirectory, runId, `batch-${iteration}`);
  const files = new Map([["groups.jsonl.gz", Buffer.from(content)]]);
  await world.runs.step(runId, `batch-${iteration}`, async () => {
    await handOver(path, files, plainManifest(files));
    return { groups: 1 };
  });
  return path;
}
const run = (id: string) => world.runs.create({ id, tenant: "default", agent: `agent of ${id}`, plan: {}, nowMs: world.clock.nowMs });

test("everything of a subject goes, wherever it was copied to; what others share stays; lineage and audit say what learned from it", async () => {
  const secret = "my parcel fell into the Vltava";
  const anna = await world.talk("anna", secret);
  const ben = await world.talk("ben", "my kettle sings");
  await world.feedback("chat-anna", secret);
  await world.feedback("chat-ben", "about the kettle");
  await run("run-1");
  // Anna's own scenario, and one of Ben's that her tape answered in.
  await world.playGroup({ runId: "run-1", iteration: 1 }, anna, { says: secret });
  await world.playGroup({ runId: "run-1", iteration: 2 }, ben, { says: secret, quotes: [anna] });
  await world.playGroup({ runId: "run-1", iteration: 3 }, ben, { says: "the kettle" });
  const paths = [await batch("run-1", 1, secret), await batch("run-1", 2, secret), await batch("run-1", 3, "the kettle")];
  await world.runs.finish("run-1", "finished", { kind: "nothing_to_learn", reason: "" }, world.clock.nowMs);
  const first = await world.adapter({ runId: "run-1", iteration: 1, conversations: [anna.conversationId] });
  const child = await world.adapter({ runId: "run-2", iteration: 1, parent: first, conversations: [ben.conversationId] });
  await world.adapter({ runId: "run-3", iteration: 1, conversations: [ben.conversationId] });
  expect(await tablesWith(database, secret)).toEqual(
    expect.arrayContaining(["feedback", "groups", "judge_results", "messages", "scenarios", "spans"]),
  );

  const report = await erase("anna");
  expect(report).toMatchObject({
    state: "erased",
    runs: ["run-1"],
    endedRuns: [],
    adapters: [
      { name: first.name, how: "trained" },
      { name: child.name, how: "descended" },
    ],
    removed: { conversations: 1, trajectories: 1, spans: 2, messages: 2, feedback: 1, groups: 2, scenarios: 1, judge_results: 2 },
  });
  expect(await tablesWith(database, secret)).toEqual([]);
  expect(await tablesWith(database, "anna")).toEqual([]);
  expect(filesWith(directory, secret)).toEqual([]);
  expect(paths.map((path) => existsSync(path))).toEqual([false, false, true]);
  // Ben has all of his, and the system message that they shared.
  const left = await loadGroups(database, "run-1");
  expect(left.map(({ iteration }) => iteration)).toEqual([3]);
  const body = await world.artifacts.get(left[0]?.bodyDigest ?? "sha256:");
  expect(decodeGroup(body ?? new Uint8Array()).members).toHaveLength(3);
  expect(await world.talk("ben", "my kettle sings")).toEqual(ben);
  const audit = await database.kysely.selectFrom("audit").selectAll().where("action", "=", "subject_erased").execute();
  expect(audit).toMatchObject([{ actor: "tester", subject: report.subjectHash, body: { erasure: report.id, runs: ["run-1"] } }]);
  expect(report.subjectHash).toMatch(/^[0-9a-f]{40}$/);
});

test("what comes again of an erased conversation is not stored, in whatever pieces; others are, and so is who comes back later", async () => {
  await world.talk("clara", "about a lamp");
  await erase("clara");
  await world.send(conversation("clara", "about a lamp"));
  // A piece that names nobody, and a new trace of the same conversation: it tells the old one again.
  await world.send([spanOf("clara", "tool", {})]);
  await world.send([spanOf("clara-2", "call", { "gen_ai.conversation.id": "chat-clara" }, { atMs: world.clock.nowMs + 60_000 })]);
  expect([await spansOf("clara"), await spansOf("clara-2")]).toEqual([0, 0]);
  await world.send(conversation("dora", "about a chair"));
  expect(await spansOf("dora")).toBe(2);
  world.clock.nowMs += 3_600_000;
  await world.send([spanOf("clara-3", "root", { "user.id": "clara" }, { atMs: world.clock.nowMs - 1_000 })]);
  expect(await spansOf("clara-3")).toBe(1);
  expect(await tablesWith(database, "about a lamp")).toEqual([]);
  // Nor what is said about it, by whatever name; what is said of the one who came back is.
  const said = (targetKind: "conversation" | "trace" | "span" | "subject", target: string, atMs: number) =>
    recordFeedback(database.kysely, [{ tenant: "default", targetKind, target, name: "n", source: targetKind, value: "words", atMs }]);
  await said("conversation", "chat-clara", world.clock.nowMs);
  await said("trace", hexOf("clara", 32), world.clock.nowMs);
  await said("span", `${hexOf("clara", 32)}/${hexOf("claracall", 16)}`, world.clock.nowMs);
  await said("subject", "clara", START_MS);
  expect(await database.kysely.selectFrom("feedback").select("source").where("name", "=", "n").execute()).toEqual([]);
  await said("subject", "clara", world.clock.nowMs);
  expect(await database.kysely.selectFrom("feedback").select("source").where("name", "=", "n").execute()).toEqual([{ source: "subject" }]);
});

test("what was on its way when a subject was erased is found by the span that names it, with what had come before of its trace", async () => {
  await erase("emil");
  const [root, call] = conversation("emil", "about a rug");
  await world.send([call ?? {}]);
  expect(await spansOf("emil")).toBe(1);
  await world.send([root ?? {}]);
  await world.eraser.finish(() => false);
  expect(await spansOf("emil")).toBe(0);
  expect(await tablesWith(database, "about a rug")).toEqual([]);
  await world.send([call ?? {}]);
  expect(await spansOf("emil")).toBe(0);
});

test("an object that carried a large span goes, and its record, delivered again, does not wait for it for ever", async () => {
  const body = protobuf(traceRequest(conversation("finn", "about a very large sofa")));
  const record = { tenant: "default", signal: "traces", body, encoding: "identity", redacted: true, receivedAtMs: START_MS } as const;
  const claimed = await checkIn(record, world.artifacts);
  expect(await world.transport.publish(claimed)).toEqual({ status: "stored" });
  expect(filesWith(directory, "very large sofa")).toHaveLength(1);
  await erase("finn");
  expect(filesWith(directory, "very large sofa")).toEqual([]);
  expect(await world.transport.publish(claimed)).toEqual({ status: "stored" });
  expect(await spansOf("finn")).toBe(0);
  // Sent once more by the collector: what it has put back goes again.
  const again = await checkIn(
    { ...record, body: protobuf(traceRequest(conversation("finn", "about a very large sofa, again"))) },
    world.artifacts,
  );
  expect(await world.transport.publish(again)).toEqual({ status: "stored" });
  await world.eraser.finish(() => false);
  expect(filesWith(directory, "very large sofa")).toEqual([]);
});

test("a night that has handed a subject to its trainer is ended, and its batch goes when the night has let go; one that has not goes on without", async () => {
  const gina = await world.talk("gina", "about a mirror");
  const hugo = await world.talk("hugo", "about a clock");
  await run("handed-over");
  await run("not-yet");
  await world.playGroup({ runId: "handed-over", iteration: 1 }, gina);
  await world.playGroup({ runId: "not-yet", iteration: 1 }, gina);
  await world.playGroup({ runId: "not-yet", iteration: 1 }, hugo);
  const path = await batch("handed-over", 1, "about a mirror");
  expect(await erase("gina")).toMatchObject({ state: "started", endedRuns: ["handed-over"], runs: ["handed-over"] });
  expect(await world.runs.get("handed-over")).toMatchObject({ state: "failed", outcome: { kind: "failed", code: "run_lost_subject" } });
  expect(await world.runs.get("not-yet")).toMatchObject({ state: "running" });
  expect(await loadGroups(database, "not-yet")).toHaveLength(1);
  expect(await world.eraser.finish((runId) => runId === "handed-over")).toBe(0);
  expect(existsSync(path)).toBe(true);
  expect(await world.eraser.finish(() => false)).toBe(1);
  expect(existsSync(path)).toBe(false);
  expect(await world.eraser.finish(() => false)).toBe(0);
  // What was in flight ends in nothing.
  await world.playGroup({ runId: "not-yet", iteration: 2 }, gina, { says: "about a mirror" });
  await world.playGroup({ runId: "not-yet", iteration: 2 }, hugo, { says: "about a mirror", quotes: [gina] });
  expect((await loadGroups(database, "not-yet")).map(({ iteration }) => iteration)).toEqual([1]);
  expect(filesWith(directory, "about a mirror")).toEqual([]);
  expect(await tablesWith(database, "about a mirror")).toEqual([]);
});

test("a subject of whom nothing is held is buried all the same, and a conversation that names nobody is a subject of its own", async () => {
  expect(await erase("nobody-yet")).toMatchObject({ state: "erased", removed: { conversations: 0, spans: 0 } });
  await world.send(conversation("nobody-yet", "late"));
  expect(await spansOf("nobody-yet")).toBe(0);
  await world.send([spanOf("bare", "root", { "gen_ai.conversation.id": "chat-bare" })]);
  const { id } = await database.kysely.selectFrom("conversations").select("id").where("key", "=", "chat-bare").executeTakeFirstOrThrow();
  expect(await erase(`conversation:${id}`)).toMatchObject({ removed: { conversations: 1, spans: 1 } });
});

test("pictures go with who showed them, but for those that somebody else showed too", async () => {
  const [own = "sha256:", common = "sha256:"] = await showPictures(world, "pia", [
    Buffer.from("her garden"),
    Buffer.from("the shop's logo"),
  ]);
  await showPictures(world, "paul", [Buffer.from("the shop's logo")]);
  const there = async () => [(await world.artifacts.get(own)) !== null, (await world.artifacts.get(common)) !== null];
  expect(await there()).toEqual([true, true]);
  expect((await erase("pia")).removed).toMatchObject({ trajectories: 1, media: 1 });
  expect(await there()).toEqual([false, true]);
  await erase("paul");
  expect(await there()).toEqual([false, false]);
  expect(await database.kysely.selectFrom("conversation_media").selectAll().execute()).toEqual([]);
});

import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { Digest } from "../../src/artifact/artifact-store.ts";
import type { Database } from "../../src/store/database.ts";
import { loadGroups } from "../../src/training/iteration.ts";
import { conversationId } from "../../src/trajectory/conversation-key.ts";
import { recordFeedback } from "../../src/trajectory/feedback.ts";
import { pivotIdOf, scenarioIdOf } from "../../src/trajectory/record-tape.ts";
import { storeMedia } from "../../src/trajectory/media-rows.ts";
import { listTrajectories, loadTrajectories } from "../../src/trajectory/trajectory-store.ts";
import type { Value } from "../fixtures/otlp/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { showPictures, spanOf, subjectWorld, tablesWith, type SubjectWorld } from "./world.ts";

/** What an erasure has to find though nothing on the subject's own rows names it. */
const directory = mkdtempSync(join(tmpdir(), "nightshift-reach-"));
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
beforeEach(() => void (world.clock.nowMs += 3_600_000));

const erase = (subject: string) => world.eraser.erase({ tenant: "default", subjects: [subject], actor: "tester" });
const finish = () => world.eraser.finish(() => false);
const sweep = async () => {
  world.clock.nowMs += 1_000;
  await world.capture.sweep();
};
const conversationOf = (kind: "conversation" | "session", key: string) => conversationId("default", { kind, key });
const digestOf = (bytes: Buffer): Digest => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A model call in which somebody says something, and its agent's root. */
function turn(trace: string, words: string, about: Readonly<Record<string, Value>>): object[] {
  const said = (role: string, content: string) => JSON.stringify([{ role, parts: [{ type: "text", content }] }]);
  const call = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    // A NUL, which no text of Postgres may hold.
    "gen_ai.response.id": `resp-${trace}\0`,
    "gen_ai.input.messages": said("user", words),
    "gen_ai.output.messages": said("assistant", `You say: ${words}`),
  };
  const atMs = world.clock.nowMs - 10_000;
  return [spanOf(trace, "root", about, { atMs }), spanOf(trace, "call", { ...call, ...about }, { parent: "root", atMs })];
}

test("what was assembled before a trace's spans named anybody goes, too, though the trace is filed elsewhere now", async () => {
  await world.send(turn("early", "about my cello", {}));
  await sweep();
  expect((await listTrajectories(database.kysely, { tenant: "default" })).items).toHaveLength(1);
  await world.send([spanOf("early", "late", { "user.id": "ida", "gen_ai.conversation.id": "chat-ida" }, { atMs: world.clock.nowMs - 1 })]);
  await sweep();
  expect(await tablesWith(database, "about my cello")).toEqual(["messages", "spans"]);
  const versions = await database.kysely.selectFrom("trajectories").select("superseded").orderBy("superseded").execute();
  expect(versions.map(({ superseded }) => superseded)).toEqual([false, true]);
  expect((await erase("ida")).removed).toMatchObject({ conversations: 2, trajectories: 2, messages: 2 });
  expect(await tablesWith(database, "about my cello")).toEqual([]);
  expect(await database.kysely.selectFrom("former_conversations").selectAll().execute()).toEqual([]);
});

test("a session that somebody else has, too, loses what it was assembled of while the erased one's trace was in it, and nothing else", async () => {
  await world.send(turn("jan", "about my oboe", { "session.id": "desk-1" }));
  await world.send(turn("kim", "about my flute", { "session.id": "desk-1", "user.id": "kim" }));
  await sweep();
  const desk = { tenant: "default", conversationId: conversationOf("session", "desk-1") };
  const before = (await listTrajectories(database.kysely, desk)).items;
  await world.send([spanOf("jan", "late", { "user.id": "jan", "gen_ai.conversation.id": "chat-jan" }, { atMs: world.clock.nowMs - 1 })]);
  await sweep();
  await erase("jan");
  expect(await tablesWith(database, "about my oboe")).toEqual([]);
  await sweep();
  const after = (await listTrajectories(database.kysely, desk)).items;
  expect(before.length).toBeGreaterThan(0);
  expect(after.map(({ subject }) => subject)).toEqual(["kim"]);
  // It may teach, and be quoted.
  await world.runs.create({ id: "desk", tenant: "default", agent: "shop", plan: {}, nowMs: world.clock.nowMs });
  const [kim] = await loadTrajectories(database.kysely, after);
  if (kim !== undefined) await world.playGroup({ runId: "desk", iteration: 1 }, kim, { quotes: [kim] });
  expect(await loadGroups(database, "desk")).toHaveLength(1);
  expect(await tablesWith(database, "about my flute")).toEqual(["messages", "scenarios", "spans"]);
});

test("a record that comes late and names the subject takes the conversation with it that it names, and that conversation stays away", async () => {
  await world.send(turn("lea-1", "about my harp", { "gen_ai.conversation.id": "chat-lea" }));
  await erase("lea");
  expect(await tablesWith(database, "about my harp")).toEqual(["spans"]);
  world.clock.nowMs -= 20_000;
  await world.send(turn("lea-2", "about my harp again", { "gen_ai.conversation.id": "chat-lea", "user.id": "lea" }));
  world.clock.nowMs += 20_000;
  await finish();
  expect(await tablesWith(database, "about my harp")).toEqual([]);
  await world.send(turn("lea-3", "about my harp", { "gen_ai.conversation.id": "chat-lea" }));
  expect(await tablesWith(database, "about my harp")).toEqual([]);
});

test("late pieces that take nothing with them leave no trace of an erasure", async () => {
  await erase("mia");
  await finish();
  const counted = async () => {
    const [erasures, audit] = await Promise.all(
      (["erasures", "audit"] as const).map((table) =>
        database.kysely
          .selectFrom(table)
          .select(({ fn }) => fn.countAll().as("n"))
          .execute(),
      ),
    );
    return [Number(erasures?.[0]?.n), Number(audit?.[0]?.n)];
  };
  const before = await counted();
  world.clock.nowMs -= 20_000;
  for (const piece of ["a", "b", "c"]) await world.send(turn(`mia-${piece}`, "about my drum", { "user.id": "mia" }));
  world.clock.nowMs += 20_000;
  await finish();
  expect(await counted()).toEqual(before);
  expect(await tablesWith(database, "about my drum")).toEqual([]);
});

test("what is said of an answer goes while the conversation is still open, and what is said of it later is not kept", async () => {
  await world.send(turn("nils", "about my tuba", { "gen_ai.conversation.id": "chat-nils", "user.id": "nils" }));
  const say = (name: string) => {
    const target = { targetKind: "response", target: "resp-nils\0" } as const;
    return recordFeedback(database.kysely, [
      { tenant: "default", ...target, name, source: "user", value: "a word on the tuba", atMs: world.clock.nowMs },
    ]);
  };
  await say("before");
  expect((await erase("nils")).removed).toMatchObject({ feedback: 1 });
  await say("after");
  expect(await tablesWith(database, "a word on the tuba")).toEqual([]);
});

test("a picture that was put into the store by a process that then died is found, and none is put there for a conversation that is gone", async () => {
  await world.send(turn("ole", "look", { "gen_ai.conversation.id": "chat-ole", "user.id": "ole" }));
  const picture = Buffer.from("a drawing of Ole's");
  const ole = { tenant: "default", id: conversationOf("conversation", "chat-ole"), arrivals: 1 };
  const media = new Map([[digestOf(picture), picture]]);
  expect(await storeMedia({ database, artifacts: world.artifacts }, ole, media)).toBe(true);
  expect(await world.artifacts.get(digestOf(picture))).not.toBeNull();
  // Nor for one that has changed since it was read.
  const other = Buffer.from("another drawing");
  expect(await storeMedia({ database, artifacts: world.artifacts }, { ...ole, arrivals: 2 }, new Map([[digestOf(other), other]]))).toBe(
    false,
  );
  expect(await world.artifacts.get(digestOf(other))).toBeNull();
  expect((await erase("ole")).removed).toMatchObject({ media: 1 });
  expect(await world.artifacts.get(digestOf(picture))).toBeNull();
  expect(await storeMedia({ database, artifacts: world.artifacts }, ole, media)).toBe(false);
  expect(await world.artifacts.get(digestOf(picture))).toBeNull();
});

test("a picture that somebody else shows after the rows are gone stays", async () => {
  const logo = Buffer.from("a logo on a mug");
  await showPictures(world, "pam", [logo]);
  // The rows are gone, the object is not: the eraser dies in between.
  const deleting = vi.spyOn(world.artifacts, "delete").mockRejectedValueOnce(new Error("killed"));
  await expect(erase("pam")).rejects.toThrow("killed");
  expect(deleting.mock.calls[0]?.[0]).toBe(digestOf(logo));
  deleting.mockRestore();
  await showPictures(world, "rob", [logo]);
  await finish();
  expect(await world.artifacts.get(digestOf(logo))).not.toBeNull();
  await erase("rob");
  expect(await world.artifacts.get(digestOf(logo))).toBeNull();
});

test("a conversation that names two customers goes whole, and the report says that there was one", async () => {
  await world.send(turn("sam", "about my viola", { "gen_ai.conversation.id": "everybody", "user.id": "sam" }));
  await world.send(turn("tom", "about my gong", { "gen_ai.conversation.id": "everybody", "user.id": "tom" }));
  await world.send(turn("tom-2", "about my bell", { "gen_ai.conversation.id": "chat-tom", "user.id": "tom" }));
  expect(await erase("sam")).toMatchObject({ sharedConversations: 1, removed: { conversations: 1 } });
  expect(await tablesWith(database, "about my gong")).toEqual([]);
  expect(await tablesWith(database, "about my bell")).toEqual(["spans"]);
  expect(await erase("tom")).toMatchObject({ sharedConversations: 0, removed: { conversations: 1 } });
});

test("the step groups of a conversation's model calls go with it, and no more of them are kept; another's stay", async () => {
  const secret = "my harp has 47 strings";
  const uma = await world.talk("uma", secret);
  const vic = await world.talk("vic", "my drum has none");
  await world.runs.create({ id: "steps", tenant: "default", agent: "agent of steps", plan: {}, nowMs: world.clock.nowMs });
  await world.playGroup({ runId: "steps", iteration: 1 }, uma, { pivot: 0, says: secret });
  await world.playGroup({ runId: "steps", iteration: 1 }, uma, { pivot: 2, says: secret });
  await world.playGroup({ runId: "steps", iteration: 1 }, vic, { pivot: 0 });
  const of = (trajectory: typeof uma, call: number) => pivotIdOf(scenarioIdOf(trajectory), call);
  const groups = await loadGroups(database, "steps");
  expect(groups.map(({ scenarioId }) => scenarioId).toSorted()).toEqual([of(uma, 0), of(uma, 2), of(vic, 0)].toSorted());
  const bodies = groups.filter(({ scenarioId }) => scenarioId !== of(vic, 0)).map(({ bodyDigest }) => bodyDigest);
  expect((await erase("uma")).removed).toMatchObject({ groups: 2, scenarios: 2, judge_results: 2 });
  expect(await tablesWith(database, secret)).toEqual([]);
  for (const digest of bodies) expect(await world.artifacts.get(digest)).toBeNull();
  // A night that had chosen one more goes on, and nothing of it is kept.
  await world.playGroup({ runId: "steps", iteration: 2 }, uma, { pivot: 1, says: secret });
  expect((await loadGroups(database, "steps")).map(({ scenarioId }) => scenarioId)).toEqual([of(vic, 0)]);
  const scenarios = await database.kysely.selectFrom("scenarios").select("id").where("run_id", "=", "steps").execute();
  expect(scenarios.map(({ id }) => id)).toEqual([of(vic, 0)]);
  expect(await tablesWith(database, secret)).toEqual([]);
});

test("a hundred pictures of one conversation are all stored, and all gone with it but the one that somebody else shows", async () => {
  const album = Array.from({ length: 100 }, (_, page) => Buffer.from(`page ${page} of Wim's album`));
  const pictures = await showPictures(world, "wim", album);
  await showPictures(world, "xia", album.slice(41, 42));
  const there = async () => (await Promise.all(pictures.map((digest) => world.artifacts.get(digest)))).filter((bytes) => bytes !== null);
  expect(await there()).toHaveLength(100);
  const named = await database.kysely.selectFrom("conversation_media").select("digest").execute();
  expect(new Set(named.map(({ digest }) => digest))).toEqual(new Set(pictures));
  expect(named).toHaveLength(101);
  expect((await erase("wim")).removed).toMatchObject({ conversations: 1, media: 99 });
  expect((await there()).map((bytes) => Buffer.from(bytes ?? []).toString())).toEqual(["page 41 of Wim's album"]);
  await erase("xia");
  expect(await there()).toEqual([]);
});

test("an artifact store that says nothing is waited for three seconds; the rows are gone by then, the object when it is back", async () => {
  const [picture = "sha256:"] = await showPictures(world, "yan", [Buffer.from("a bassoon")]);
  const limits: boolean[] = [];
  const silent = vi.spyOn(world.artifacts, "delete").mockImplementationOnce((_digest, options) => {
    const waiting = Promise.withResolvers<never>();
    options?.signal?.addEventListener("abort", () => waiting.reject(options.signal?.reason));
    vi.advanceTimersByTime(2_999);
    limits.push(options?.signal?.aborted === true);
    vi.advanceTimersByTime(1);
    limits.push(options?.signal?.aborted === true);
    return waiting.promise;
  });
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    expect(await erase("yan")).toMatchObject({ state: "started", removed: { conversations: 1, media: 1 } });
  } finally {
    vi.useRealTimers();
    silent.mockRestore();
  }
  expect(limits).toEqual([false, true]);
  expect(await world.artifacts.get(picture)).not.toBeNull();
  expect(await database.kysely.selectFrom("conversation_media").selectAll().execute()).toEqual([]);
  expect(await finish()).toBe(1);
  expect(await world.artifacts.get(picture)).toBeNull();
});

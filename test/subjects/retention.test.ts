import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sweepCheckouts } from "../../src/artifact/cache-sweep.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { adapterArtifact } from "../../src/training/adapters.ts";
import { loadGroups } from "../../src/training/iteration.ts";
import { createRetention, lastRetention, type RetentionReport } from "../../src/training/retention.ts";
import { namedAdapters } from "../../src/training/still-needed.ts";
import { checkIn } from "../../src/transport/claim.ts";
import { protobuf, traceRequest } from "../fixtures/otlp/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { conversation, filesWith, spanOf, START_MS, showPictures, subjectWorld, tablesWith, type SubjectWorld } from "./world.ts";

const DAY_MS = 86_400_000;
const directory = mkdtempSync(join(tmpdir(), "nightshift-retention-"));
const cache = join(directory, "artifact-cache");
let database: Database;
let world: SubjectWorld;
let signal = new AbortController().signal;
beforeAll(async () => {
  database = await memoryDatabase();
  world = await subjectWorld(database, directory);
});
afterAll(async () => {
  await world.close();
  await database.close();
  rmSync(directory, { recursive: true });
});

function sweep(days = { capturedDays: 90, nightsDays: 30 }): Promise<RetentionReport> {
  const { artifacts, runFiles, clock } = world;
  const sweepCache = ({ beforeMs, keep }: { beforeMs: number; keep: ReadonlySet<string> }) =>
    sweepCheckouts(cache, { beforeMs, keep: [...keep].map(adapterArtifact) });
  const deps = { database, artifacts, runFiles, sweepCache, log: silentLog(), now: () => clock.nowMs };
  return createRetention({ default: days }, deps).sweep({ signal });
}
const at = (days: number): void => void (world.clock.nowMs = START_MS + days * DAY_MS);
const run = (id: string) => world.runs.create({ id, tenant: "default", agent: `agent of ${id}`, plan: {}, nowMs: world.clock.nowMs });
const finish = (id: string) => world.runs.finish(id, "finished", { kind: "nothing_to_learn", reason: "" }, world.clock.nowMs);
const keys = async () => (await database.kysely.selectFrom("conversations").select("key").orderBy("key").execute()).map(({ key }) => key);

test("captured data goes when its days are over, with the object that carried it and what was said of it; younger data stays", async () => {
  at(0);
  await world.talk("old", "the old story");
  await world.feedback("chat-old", "the old story");
  const body = protobuf(traceRequest(conversation("large", "the old and large story")));
  const record = {
    tenant: "default",
    signal: "traces",
    body,
    encoding: "identity",
    redacted: true,
    receivedAtMs: world.clock.nowMs,
  } as const;
  const claimed = await checkIn(record, world.artifacts);
  expect(await world.transport.publish(claimed)).toEqual({ status: "stored" });
  at(40);
  await world.talk("young", "the young story");
  at(90);
  expect((await sweep()).removed).toEqual({});
  at(91);
  const { removed } = await sweep();
  expect(removed).toEqual({ claims: 1, conversations: 2, feedback: 1, messages: 4, spans: 4, trajectories: 2 });
  expect(await keys()).toEqual(["chat-young"]);
  expect([await tablesWith(database, "the old"), filesWith(directory, "the old")]).toEqual([[], []]);
  expect(await tablesWith(database, "the young story")).toEqual(["messages", "spans"]);
  // No tombstone: who has merely become old may come back; the record of what is gone waits for nothing.
  expect(await world.transport.publish(claimed)).toEqual({ status: "stored" });
  await world.send(conversation("old", "the old story", world.clock.nowMs));
  expect(await keys()).toEqual(["chat-old", "chat-young"]);
  expect(await lastRetention(database)).toMatchObject({ atMs: world.clock.nowMs, removed: { spans: 4 } });
});

test("what a night made goes with its run directory, but for a run that is not through, and nothing of what that one pinned", async () => {
  at(200);
  const pinned = await world.talk("pinned", "the pinned story");
  const other = await world.talk("other", "the other story");
  for (const id of ["done", "running", "gating"]) {
    await run(id);
    await world.runs.step(id, "select", () => Promise.resolve({ trajectories: id === "done" ? [other] : [{ id: pinned.id, version: 1 }] }));
    await world.playGroup({ runId: id, iteration: 1 }, id === "done" ? other : pinned, { says: `rollouts of ${id}` });
    mkdirSync(join(world.runsDirectory, id, "batch-1"), { recursive: true });
    writeFileSync(join(world.runsDirectory, id, "batch-1", "groups.jsonl.gz"), `batch of ${id}`);
  }
  await finish("done");
  await world.runs.finish("gating", "finished", { kind: "candidate", adapterDigest: "sha256:x", adapterName: "x" }, world.clock.nowMs);
  at(229);
  expect((await sweep()).removed["groups"]).toBeUndefined();
  at(400);
  const { removed } = await sweep();
  expect(removed).toMatchObject({ groups: 1, scenarios: 1, run_steps: 1, run_directories: 1, conversations: expect.any(Number) });
  expect(["done", "running", "gating"].map((id) => existsSync(join(world.runsDirectory, id)))).toEqual([false, true, true]);
  expect(filesWith(directory, "rollouts of done")).toEqual([]);
  expect([await loadGroups(database, "done"), await loadGroups(database, "running")]).toEqual([[], [expect.anything()]]);
  expect(await keys()).toEqual(["chat-pinned"]);
  expect(await world.runs.get("done")).toMatchObject({ state: "finished" });
  // Through at last: it goes too, and the conversation with it.
  await world.runs.finish("running", "failed", { kind: "failed", code: "x", message: "", fix: "" }, START_MS + 300 * DAY_MS);
  const gate = {
    id: "gating",
    tenant: "default",
    agent: "agent of gating",
    candidate_digest: "sha256:x",
    stable_digest: "sha256:b",
    state: "refused",
  };
  await database.kysely
    .insertInto("experiments")
    .values({ ...gate, generation: 1, body: "{}", created_at_ms: 1, ended_at_ms: 2 })
    .execute();
  await sweep();
  expect(await keys()).toEqual([]);
  expect(["running", "gating"].map((id) => existsSync(join(world.runsDirectory, id)))).toEqual([false, false]);
  expect(await tablesWith(database, "rollouts of")).toEqual([]);
});

test("the units of a live canary stay until it has ended", async () => {
  at(500);
  await world.talk("unit", "the unit's story");
  await database.kysely.updateTable("trajectories").set({ experiment_id: "canary" }).where("conversation_key", "=", "chat-unit").execute();
  const row = {
    id: "canary",
    tenant: "default",
    agent: "shop",
    candidate_digest: "sha256:c",
    stable_digest: "sha256:b",
    state: "canary",
    generation: 1,
  };
  await database.kysely
    .insertInto("experiments")
    .values({ ...row, body: "{}", created_at_ms: 1, ended_at_ms: null })
    .execute();
  at(900);
  await sweep();
  expect(await keys()).toEqual(["chat-unit"]);
  await database.kysely.updateTable("experiments").set({ ended_at_ms: 1 }).execute();
  await sweep();
  expect(await keys()).toEqual([]);
});

test("old copies of adapters go, but none that a route, an experiment, a wish or a run that is not through names", async () => {
  at(1_000);
  const target = (name: string) => ({ name, digest: `sha256:${name}` });
  const routes = { stable: target("stable"), candidate: target("candidate") };
  await database.kysely
    .insertInto("routes")
    .values({ agent: "shop", version: 1, generation: 1, body: JSON.stringify(routes) })
    .execute();
  const experiment = { candidate: target("waiting"), stable: target("before") };
  const row = { id: "open", tenant: "default", agent: "shop", candidate_digest: "c", stable_digest: "b", state: "queued", generation: 1 };
  const body = JSON.stringify(experiment);
  await database.kysely
    .insertInto("experiments")
    .values({ ...row, body, created_at_ms: 1, ended_at_ms: null })
    .execute();
  const value = JSON.stringify({ agent: "shop", adapters: [target("wanted")], stable: "stable" });
  await database.kysely.insertInto("settings").values({ key: "desired_adapters:shop", value }).execute();
  await run("tonight");
  const made = await world.adapter({ runId: "tonight", iteration: 1, conversations: [] });
  const names = ["stable", "candidate", "waiting", "before", "wanted", made.name];
  expect([...(await namedAdapters(database.kysely))].toSorted()).toEqual(names.toSorted());
  const pathOf = (name: string): string => join(cache, "named", `adapters~${name}`);
  for (const name of [...names, "forgotten", "fresh"]) {
    mkdirSync(pathOf(name), { recursive: true });
    const days = name === "fresh" ? 999 : 900;
    utimesSync(pathOf(name), new Date(START_MS + days * DAY_MS), new Date(START_MS + days * DAY_MS));
  }
  expect((await sweep()).removed).toEqual({ adapter_copies: 1 });
  expect([...names, "fresh", "forgotten"].map((name) => existsSync(pathOf(name)))).toEqual([...names.map(() => true), true, false]);
});

test("many batches go in one sweep; one that is aborted is gone on with by the next", async () => {
  at(2_000);
  const spans = Array.from({ length: 250 }, (_, index) => spanOf(`many-${index}`, "root", {}));
  await world.send(spans);
  at(2_100);
  const stop = new AbortController();
  ({ signal } = stop);
  stop.abort(new Error("stop here"));
  await expect(sweep()).rejects.toThrow("stop here");
  ({ signal } = new AbortController());
  expect((await sweep()).removed).toMatchObject({ conversations: 250, spans: 250 });
  expect((await sweep()).removed).toEqual({});
});

test("pictures go with the last conversation that has them", async () => {
  at(0);
  const [old = "sha256:", common = "sha256:"] = await showPictures(world, "rita", [
    Buffer.from("an old picture"),
    Buffer.from("a common one"),
  ]);
  at(50);
  await showPictures(world, "rolf", [Buffer.from("a common one")]);
  const there = async () => [(await world.artifacts.get(old)) !== null, (await world.artifacts.get(common)) !== null];
  at(92);
  expect((await sweep()).removed).toMatchObject({ media: 1 });
  expect(await there()).toEqual([false, true]);
  at(142);
  expect((await sweep()).removed).toMatchObject({ media: 1 });
  expect(await there()).toEqual([false, false]);
  expect(await database.kysely.selectFrom("conversation_media").selectAll().execute()).toEqual([]);
});

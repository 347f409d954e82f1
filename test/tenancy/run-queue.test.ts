import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { createRunQueue } from "../../src/training/run-queue.ts";
import { cancelRun } from "../../src/training/run-store.ts";
import { apiWorld } from "../api/world.ts";
import { cli } from "../cli/terminal.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { nightsOf, type Nights } from "./nights.ts";

const directory = mkdtempSync(join(tmpdir(), "nightshift-queue-"));
const { signal } = new AbortController();
let database: Database;
let child: ChildProcess | null = null;

beforeAll(async () => {
  database = await memoryDatabase();
});
beforeEach(async () => {
  for (const table of ["run_steps", "runs"] as const) await database.kysely.deleteFrom(table).execute();
});
afterAll(async () => {
  child?.kill("SIGKILL");
  await database.close();
  rmSync(directory, { recursive: true, force: true });
});

async function ask({ runs }: Nights, id: string, agent: "north-desk" | "south-desk", nowMs: number): Promise<void> {
  await runs.create({ id, tenant: agent === "north-desk" ? "north" : "south", agent, plan: {}, nowMs });
}

const NOTHING = { state: "finished", outcome: { kind: "nothing_to_learn" } };

test("of two agents' runs the one that was asked for first is carried out, the other waits and then begins", async () => {
  const nights = nightsOf(database, { runsAtOnce: 1, directory });
  await ask(nights, "early", "south-desk", 1_000);
  await ask(nights, "late", "north-desk", 2_000);
  // Whoever looks first: the order is that of the rows.
  await nights.shifts["north-desk"].work(signal);
  const early = nights.shifts["south-desk"].work(signal);
  await nights.begun("south-desk");
  await nights.shifts["north-desk"].work(signal);
  expect(await nights.runs.steps("late")).toEqual([]);
  expect(await Promise.all(["early", "late", "nobody"].map((id) => nights.queue.before(id)))).toEqual([0, 1, 0]);
  nights.release("south-desk");
  await early;
  expect(await nights.queue.before("late")).toBe(0);
  nights.release("north-desk");
  await nights.shifts["north-desk"].work(signal);
  expect(await nights.runs.get("early")).toMatchObject(NOTHING);
  expect(await nights.runs.get("late")).toMatchObject(NOTHING);
  expect(nights.over).toEqual(["early", "late"]);
});

test("as many as the config allows are carried out at once", async () => {
  const nights = nightsOf(database, { runsAtOnce: 2, directory });
  await ask(nights, "early", "south-desk", 1_000);
  await ask(nights, "late", "north-desk", 2_000);
  const working = [nights.shifts["south-desk"].work(signal), nights.shifts["north-desk"].work(signal)];
  await Promise.all([nights.begun("south-desk"), nights.begun("north-desk")]);
  for (const agent of ["south-desk", "north-desk"] as const) nights.release(agent);
  await Promise.all(working);
  expect(nights.over.toSorted()).toEqual(["early", "late"]);
});

test("a place is never given twice, whoever asks at the same time, and a run of an agent that is gone takes none", async () => {
  const names = ["a", "b", "c", "d"];
  const queue = createRunQueue({ runsAtOnce: 2, agents: names }, { database, log: silentLog() });
  const nights = nightsOf(database, { runsAtOnce: 1, directory });
  for (const [index, agent] of ["gone", ...names].entries())
    await nights.runs.create({ id: agent, tenant: "t", agent, plan: {}, nowMs: index });
  expect(await Promise.all(names.toReversed().map((id) => queue.enter(id)))).toEqual([2, 1, 0, 0]);
  await nights.runs.finish("b", "finished", { kind: "nothing_to_learn", reason: "test" }, 9);
  queue.leave("b");
  // What has ended is not begun again.
  expect(await Promise.all(names.map((id) => queue.enter(id)))).toEqual([0, 1, 0, 1]);
});

test("a run that is cancelled keeps its place until its trainer has stopped, and takes none when it had none", async () => {
  const queue = createRunQueue({ runsAtOnce: 1, agents: ["a", "b", "c"] }, { database, log: silentLog() });
  const nights = nightsOf(database, { runsAtOnce: 1, directory });
  for (const [index, agent] of ["a", "b", "c"].entries())
    await nights.runs.create({ id: agent, tenant: "t", agent, plan: {}, nowMs: index });
  expect(await queue.enter("a")).toBe(0);
  for (const id of ["a", "b"]) await nights.runs.finish(id, "cancelled", { kind: "nothing_to_learn", reason: "test" }, 9);
  expect(await queue.enter("b")).toBeGreaterThan(0);
  expect(await queue.enter("c")).toBe(1);
  queue.leave("a");
  expect(await queue.enter("c")).toBe(0);
});

test("a run that nobody asks for, since its agent plays a gate, holds up nobody, and has its turn back when it is asked for", async () => {
  let nowMs = 0;
  const queue = createRunQueue({ runsAtOnce: 1, agents: ["a", "b", "c"] }, { database, log: silentLog(), monotonicMs: () => nowMs });
  const nights = nightsOf(database, { runsAtOnce: 1, directory });
  for (const [index, agent] of ["a", "b", "c"].entries())
    await nights.runs.create({ id: agent, tenant: "t", agent, plan: {}, nowMs: index });
  for (nowMs of [0, 5_000]) expect(await queue.enter("b")).toBe(1);
  nowMs = 10_001;
  expect(await queue.enter("c")).toBe(1);
  expect(await queue.enter("b")).toBe(0);
  expect(await queue.enter("a")).toBe(1);
  queue.leave("b");
  await nights.runs.finish("b", "finished", { kind: "nothing_to_learn", reason: "test" }, 9);
  expect(await queue.enter("c")).toBe(1);
  expect(await queue.enter("a")).toBe(0);
});

test("what waits and what is under way can be cancelled, and the next one begins", async () => {
  const nights = nightsOf(database, { runsAtOnce: 1, directory });
  await ask(nights, "early", "south-desk", 1_000);
  await ask(nights, "late", "north-desk", 2_000);
  const early = nights.shifts["south-desk"].work(signal);
  await nights.begun("south-desk");
  const deps = { database, now: () => 6_000 };
  expect(await cancelRun({ id: "early", actor: "kim" }, deps)).toBe("cancelled");
  nights.release("south-desk");
  await early;
  const outcome = { kind: "failed", code: "run_cancelled", message: "run early was cancelled by kim" };
  expect(await nights.runs.get("early")).toMatchObject({ state: "cancelled", outcome });
  expect(await nights.queue.before("late")).toBe(0);
  nights.release("north-desk");
  await nights.shifts["north-desk"].work(signal);
  expect(await cancelRun({ id: "late", actor: "kim" }, deps)).toBe("finished");
  expect(await cancelRun({ id: "nobody", actor: "kim" }, deps)).toBeNull();
  const audited = await database.kysely.selectFrom("audit").select(["actor", "subject"]).where("action", "=", "run_cancelled").execute();
  expect(audited).toEqual([
    { actor: "kim", subject: "early" },
    { actor: "kim", subject: "late" },
  ]);
});

test("a cancellation that cannot be audited did not happen", async () => {
  const nights = nightsOf(database, { runsAtOnce: 1, directory });
  await ask(nights, "early", "south-desk", 1_000);
  await sql`alter table audit add constraint nobody check (actor <> 'ghost')`.execute(database.kysely);
  try {
    await expect(cancelRun({ id: "early", actor: "ghost" }, { database, now: () => 6_000 })).rejects.toThrow("nobody");
    expect(await nights.runs.get("early")).toMatchObject({ state: "running", outcome: null });
  } finally {
    await sql`alter table audit drop constraint nobody`.execute(database.kysely);
  }
  expect(await cancelRun({ id: "early", actor: "kim" }, { database, now: () => 6_000 })).toBe("cancelled");
});

test("whoever asks is told that a run waits, and for how many; whose they are is not said", async () => {
  const of = (tenant: string) => ({ tenant, model: tenant, baseModel: "base" });
  const agents = { a: of("north"), b: of("south") };
  const world = await apiWorld(database, { config: { tenants: { north: {}, south: {} }, agents } });
  try {
    const first = await cli(["run", "--agent", "a", "--url", world.url]);
    const [, early = ""] = /^run (\S+) started; /.exec(first.out) ?? [];
    await world.runs.step(early, "select", () => Promise.resolve({}));
    const second = await cli(["run", "--agent", "b", "--url", world.url]);
    expect(second.out).toMatch(/^run \S+ waits for another run to end; `nightshift runs show/);
    const [, id = ""] = /^run (\S+) /.exec(second.out) ?? [];
    expect((await cli(["status", "--url", world.url])).out).toMatch(/run +\S+ waits for another run to end$/m);
    expect((await cli(["runs", "list", "--url", world.url])).out).toMatch(/b +waits for another run to end/);
    expect((await world.get(`/v1/runs/${id}`)).body).toMatchObject({ state: "running", before: 1 });
    const cancelled = await cli(["runs", "cancel", id, "--actor", "kim", "--url", world.url]);
    expect(cancelled).toMatchObject({ code: 0, out: `run ${id} is cancelled` });
    expect((await cli(["runs", "cancel", id, "--url", world.url])).out).toBe(`run ${id} is cancelled`);
    expect((await cli(["runs", "show", id, "--url", world.url])).out).toContain("was cancelled by kim");
  } finally {
    await world.close();
  }
});

test("after a kill what was under way goes on and what waited still waits behind it: nothing is lost", { timeout: 120_000 }, async () => {
  const store = join(directory, "store");
  child = fork(join(import.meta.dirname, "dying-nights.ts"), [store, directory], { execArgv: [] });
  const [said] = (await once(child, "message")) as unknown[];
  expect(said).toEqual({ before: 1, over: [] });
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;

  const after = await createPglite({ dir: store, log: silentLog() });
  await after.migrate();
  const nights = nightsOf(after, { runsAtOnce: 1, directory });
  for (const agent of ["south-desk", "north-desk"] as const) nights.release(agent);
  await nights.shifts["north-desk"].work(signal);
  expect(nights.over).toEqual([]);
  await nights.shifts["south-desk"].work(signal);
  await nights.shifts["north-desk"].work(signal);
  expect(nights.over).toEqual(["first", "second"]);
  expect(await nights.runs.get("second")).toMatchObject(NOTHING);
  await after.close();
});

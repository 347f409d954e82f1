import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { carryOut } from "../../src/training/learning.ts";
import type { NightDeps } from "../../src/training/night-context.ts";
import { planNight } from "../../src/training/planned-night.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

const configOf = (night: object) => parseConfig({ agents: { shop: { model: "m", baseModel: "b", night } } }).agents["shop"];
const config = configOf({});

/** Carries a run out whose `learn` rejects; what became of the run and of its trainer. */
async function carriedOut(runId: string, learn: (abort: () => void) => Promise<never>, cancel = (): Promise<void> => Promise.resolve()) {
  if (config === undefined) throw new Error("no such agent");
  const runs = createRunStore(database, () => 5);
  await runs.create({ id: runId, tenant: "default", agent: runId, plan: {}, nowMs: 1 });
  const asked: string[] = [];
  const jobRunner = {
    cancel: () => (asked.push("cancel"), cancel()),
    release: () => Promise.resolve(void asked.push("release")),
  };
  const deps = { database, runs, jobRunner, log: silentLog(), now: () => 5 } as unknown as NightDeps;
  const stopping = new AbortController();
  const options = { runId, agent: runId, config, runsDirectory: "/nowhere", signal: stopping.signal };
  const outcome = await carryOut(options, deps, () => learn(() => stopping.abort())).catch((error: unknown) => error);
  return { outcome, asked, run: await runs.get(runId) };
}

test("a trainer that found no place ends its run, which is no failure, and is stopped", async () => {
  const error = nightshiftError("trainer_no_capacity", { run: "full", waitedMs: 14_400_000, detail: "3 Insufficient nvidia.com/gpu" });
  const { outcome, asked, run } = await carriedOut("full", () => Promise.reject(error));
  expect(outcome).toEqual({ kind: "no_capacity", reason: error.message, fix: error.fix });
  expect(error.message).toBe("the trainer of run full found no place to run for 240 minutes: 3 Insufficient nvidia.com/gpu");
  expect([asked, run?.state]).toEqual([["cancel"], "finished"]);
});

test.each([
  ["an outage", nightshiftError("cluster_unavailable", { what: "a Job", problem: "away" })],
  ["a defect", new TypeError("undefined is not a function")],
])("%s leaves the run open and lets go of its trainer, for the next turn", async (name, error) => {
  const { outcome, asked, run } = await carriedOut(name.replace(" ", "-"), () => Promise.reject(error));
  expect([outcome, asked, run?.state]).toEqual([error, ["release"], "running"]);
});

test("so does a process that ends", async () => {
  const { outcome, asked, run } = await carriedOut("ending", (abort) => {
    abort();
    return Promise.reject(nightshiftError("trainer_failed", { run: "ending", exitCode: 1, detail: "" }));
  });
  expect([outcome, asked, run?.state]).toEqual([expect.objectContaining({ code: "trainer_failed" }), ["release"], "running"]);
});

test("that a trainer could not be stopped changes nothing of what the run came to", async () => {
  const failed = nightshiftError("trainer_failed", { run: "kept", exitCode: 65, detail: "" });
  const { outcome, run } = await carriedOut(
    "kept",
    () => Promise.reject(failed),
    () => Promise.reject(new Error("no right to delete")),
  );
  expect([outcome, run?.state]).toEqual([expect.objectContaining({ kind: "failed", code: "trainer_failed" }), "failed"]);
});

describe("a run that another config goes on with", () => {
  async function goneOnWith(runId: string, plan: Record<string, unknown>) {
    const today = configOf({ iterations: 2, learningRate: 5e-3, sabotage: "invert_rewards" });
    if (today === undefined) throw new Error("no such agent");
    const runs = createRunStore(database, () => 5);
    await runs.create({ id: runId, tenant: "default", agent: runId, plan, nowMs: 1 });
    const jobRunner = { cancel: () => Promise.resolve(), release: () => Promise.resolve() };
    const deps = { database, runs, jobRunner, log: silentLog(), now: () => 5 } as unknown as NightDeps;
    const options = { runId, agent: runId, config: today, runsDirectory: "/nowhere", signal: new AbortController().signal };
    const nights: unknown[] = [];
    const outcome = await carryOut(options, deps, ({ config: { night, ...rest } }) => {
      nights.push(night);
      expect(rest).toEqual({ ...today, night: undefined });
      return Promise.resolve({ kind: "nothing_to_learn" as const, reason: "a test" });
    });
    return { outcome, nights, today };
  }

  test("is the night that it was started as, and everything else is today's", async () => {
    const started = configOf({ iterations: 8, learningRate: 6e-4 });
    if (started === undefined) throw new Error("no such agent");
    const { nights } = await goneOnWith("upgraded", planNight(started));
    expect(nights).toEqual([started.night]);
  });

  test("whose row says nothing of it goes by today's", async () => {
    const { nights, today } = await goneOnWith("old", { iterations: 8 });
    expect(nights).toEqual([today.night]);
  });

  test("with settings that are known no more fails, and says which", async () => {
    const { outcome, nights } = await goneOnWith("downgraded", { night: { ...config?.night, dreams: 3 } });
    expect(nights).toEqual([]);
    expect(outcome).toMatchObject({ kind: "failed", code: "run_plan_unknown", message: expect.stringMatching(/dreams/) as unknown });
  });
});

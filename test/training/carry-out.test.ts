import { afterAll, beforeAll, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { carryOut } from "../../src/training/learning.ts";
import type { NightDeps } from "../../src/training/night-context.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

const config = parseConfig({ agents: { shop: { model: "m", baseModel: "b" } } }).agents["shop"];

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

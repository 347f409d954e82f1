import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import type { NightDeps } from "../../src/training/night-context.ts";
import { runNight } from "../../src/training/night.ts";
import { createRunStore, type RunOutcome } from "../../src/training/run-store.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

const config = parseConfig({ agents: { shop: { model: "m", baseModel: "b" } } }).agents["shop"];
const ERASED: RunOutcome = { kind: "failed", code: "run_lost_subject", message: "a subject was erased", fix: "start another" };

test("a night whose run somebody else ends stops what it is at, lets the trainer go and ends as that one said", async () => {
  if (config === undefined) throw new Error("no such agent");
  const runs = createRunStore(database, () => 5);
  await runs.create({ id: "run-1", tenant: "default", agent: "shop", plan: {}, nowMs: 1 });
  const cancelled: string[] = [];
  const outputs: Record<string, object> = {
    select: { trajectories: [], trainScenarios: 1 },
    prepare: { name: "m", digest: "d" },
    fidelity: { tools: [] },
  };
  const deps = {
    ...{ database, log: silentLog(), now: () => 5, recordings: () => Promise.resolve({}) },
    runs: { ...runs, step: (_: string, step: string) => Promise.resolve(outputs[step]) },
    jobRunner: {
      // The night is at something that only its signal ends.
      async start(_: object, options: { signal: AbortSignal }) {
        await runs.finish("run-1", "failed", ERASED, 3);
        await once(options.signal, "abort");
        throw options.signal.reason;
      },
      cancel: (runId: string) => Promise.resolve(void cancelled.push(runId)),
    },
  } as unknown as NightDeps;
  const signal = new AbortController().signal;
  expect(await runNight({ runId: "run-1", agent: "shop", config, runsDirectory: "/nowhere", signal }, deps)).toEqual(ERASED);
  expect(cancelled).toEqual(["run-1"]);
  expect(await runs.get("run-1")).toMatchObject({ state: "failed", finishedAtMs: 3 });
});

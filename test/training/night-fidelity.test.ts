import { pino } from "pino";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createRecordings, type Recordings } from "../../src/rollout/recordings.ts";
import { scenarioIdOf } from "../../src/trajectory/record-tape.ts";
import type { NightDeps, NightOptions } from "../../src/training/night-context.ts";
import { measureReplay, replayOfSteps, reportReplay, trustOfRun } from "../../src/training/night-fidelity.ts";
import { createRunStore, type RunStore } from "../../src/training/run-store.ts";
import type { Database } from "../../src/store/database.ts";
import { conversation, lookup, shopConfigs } from "../rollout/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
let runs: RunStore;
beforeAll(async () => {
  database = await memoryDatabase();
  runs = createRunStore(database, () => 0);
});
afterAll(() => database.close());

const agent = parseConfig({
  agents: { shop: { model: "m", baseModel: "b", tools: shopConfigs, scenario: { quarantineMs: 0, heldOutShare: 0.05 } } },
}).agents["shop"];
if (agent === undefined) throw new Error("the config has its agent");
const config = agent;

/** Conversations an hour apart about one order, whose state others change before every `n`-th. */
const HOUR = 3_600_000;
const tapes = (count: number, everyNth: number) =>
  Array.from({ length: count }, (_, hour) =>
    conversation(`c${hour}`, [lookup("A1", `state ${Math.floor(hour / everyNth)}`)], { startMs: hour * HOUR }),
  );
const recordingsOf = (count: number, everyNth: number): Recordings =>
  createRecordings({ trajectories: tapes(count, everyNth), feedback: [], config, nowMs: 1e12 });

async function night(runId: string) {
  await runs.create({ id: runId, tenant: "acme", agent: runId, plan: {}, nowMs: 0 });
  const options: NightOptions = { runId, agent: runId, config, runsDirectory: "", signal: new AbortController().signal };
  return { options, deps: { database, runs, log: silentLog() } as unknown as NightDeps };
}

it("measures once: what a run trusts is the same after a restart, whatever is recorded by then", async () => {
  const { options, deps } = await night("pinned");
  const changing = await measureReplay(options, deps, recordingsOf(40, 1));
  // Nobody's answer is anybody else's: R3 is off.
  expect(changing.serves("lookup_order", "R3")).toBe(false);
  const again = await measureReplay(options, deps, recordingsOf(40, 100));
  expect(again.serves("lookup_order", "R3")).toBe(false);
  expect((await trustOfRun(runs, "pinned")).serves("lookup_order", "R3")).toBe(false);
  expect((await trustOfRun(runs, "before there was a measure")).serves("lookup_order", "R3")).toBe(true);
});

it("trusts what was never wrong more than the rung's own word", async () => {
  const { options, deps } = await night("steady");
  const trust = await measureReplay(options, deps, recordingsOf(60, 100));
  const { tools } = replayOfSteps(await runs.steps("steady"));
  const [served = 0, wrong] = [tools?.[0]?.rungs[0]?.served, tools?.[0]?.rungs[0]?.wrong];
  expect({ wrong, rung: tools?.[0]?.rungs[0]?.rung }).toEqual({ wrong: 0, rung: "R3" });
  expect(served).toBeGreaterThan(40);
  expect(trust.confidenceOf("lookup_order", "R3", 0.97)).toBeCloseTo(1 - 0.6 / (20 + served), 12);
});

it("reports an iteration's replay, with the traffic of every task", async () => {
  const { options, deps: silent } = await night("reported");
  const lines: string[] = [];
  const deps = { ...silent, log: pino({ base: null, timestamp: false }, { write: (line) => void lines.push(line) }) };
  const recordings = recordingsOf(40, 100);
  const scenarioId = scenarioIdOf(recordings.trajectories[0] as never);
  const summary = {
    verdict: "kept",
    mean: 0.5,
    members: 8,
    masked: { replay_miss: 4 },
    callsByRung: { R1: 3, R7: 1 },
    completionTokens: 9,
  };
  const group = (id: string, iteration: number) => ({
    ...{ id, run_id: "reported", iteration, scenario_id: scenarioId, body_digest: "sha256:x", summary: JSON.stringify(summary) },
  });
  await database.kysely
    .insertInto("groups")
    .values([group("a", 1), group("b", 1), group("c", 1), group("d", 2)])
    .execute();
  const report = await reportReplay(options, deps, { iteration: 1, recordings });
  expect(report).toMatchObject({
    iterations: [{ iteration: 1, members: 24, maskRate: 0.5, offTape: 0.25 }],
    clusters: [{ traffic: 1, tokens: 1 }],
    alarms: [{ alarm: "mask_rate", value: 0.5, limit: 0.3, where: "iteration 1" }],
  });
  const again = await reportReplay(options, deps, { iteration: 2, recordings });
  expect(again.alarms).toEqual(report.alarms);
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([{ level: 40, ...report.alarms[0], msg: "replay alarm" }]);
  expect(replayOfSteps(await runs.steps("reported")).report?.iterations.map(({ iteration }) => iteration)).toEqual([1, 2]);
});

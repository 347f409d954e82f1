import { expect } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createRecordings } from "../../src/rollout/recordings.ts";
import type { Database } from "../../src/store/database.ts";
import type { NightDeps } from "../../src/training/night-context.ts";
import { measureReplay, reportReplay } from "../../src/training/night-fidelity.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { conversation, lookup, shopConfigs } from "../rollout/build.ts";
import type { meterInMemory } from "./metered.ts";

/** Reports one iteration and looks what was metered. */
export async function checkReplay(database: Database, meter: Pick<ReturnType<typeof meterInMemory>, "points">): Promise<void> {
  await measuredReplay(database);
  const at = (rung: string, value: number) => ({ attributes: { "nightshift.agent": "shop", "nightshift.rung": rung }, value });
  expect(await meter.points("nightshift.replay.calls")).toEqual([at("R1", 30), at("R7", 12)]);
  expect(await meter.points("nightshift.replay.wrong_share")).toEqual([at("R3", 1)]);
  const alarm = { "nightshift.agent": "shop", "nightshift.reason": "mask_rate" };
  expect(await meter.points("nightshift.replay.alarms")).toEqual([{ attributes: alarm, value: 1 }]);
}

/** An iteration of agent `shop` on three tapes, one of which tells another state than the two others; of its 24 members, 12 were masked. */
async function measuredReplay(database: Database): Promise<void> {
  const scenario = { quarantineMs: 0, heldOutShare: 0.05 };
  const config = parseConfig({ agents: { shop: { model: "m", baseModel: "b", tools: shopConfigs, scenario } } }).agents["shop"];
  if (config === undefined) throw new Error("the config has its agent");
  const trajectories = ["sent", "sent", "lost"].map((state, hour) =>
    conversation(`replayed-${hour}`, [lookup("A1", state)], { startMs: hour * 3_600_000, user: "u" }),
  );
  const recordings = createRecordings({ trajectories, feedback: [], config, nowMs: 1e12 });
  const runs = createRunStore(database, () => 0);
  await runs.create({ id: "replayed", tenant: "acme", agent: "replayed", plan: {}, nowMs: 0 });
  const options = { runId: "replayed", agent: "shop", config, runsDirectory: "", signal: new AbortController().signal };
  const deps = { database, runs, log: silentLog() } as unknown as NightDeps;
  await measureReplay(options, deps, recordings);
  const summary = { verdict: "replay_dropped", mean: null, members: 24, masked: { replay_miss: 12 }, callsByRung: { R1: 30, R7: 12 } };
  await database.kysely
    .insertInto("groups")
    .values({
      ...{ id: "replayed", run_id: "replayed", iteration: 1, scenario_id: "s", body_digest: "sha256:x" },
      summary: JSON.stringify(summary),
    })
    .execute();
  await reportReplay(options, deps, { iteration: 1, recordings });
}

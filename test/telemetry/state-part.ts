import { statfsSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { startStateMeters } from "../../src/app/state-meters.ts";
import { silentLog } from "../../src/log.ts";
import { createExperimentStore } from "../../src/promotion/experiment-store.ts";
import type { Database } from "../../src/store/database.ts";
import { observeDisk } from "../../src/telemetry/disk.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { QUICKSTART } from "../bench/canary/simulate.ts";
import { until } from "../e2e/processes.ts";
import type { meterInMemory } from "./metered.ts";

type Meter = Pick<ReturnType<typeof meterInMemory>, "points">;

/** Two agents at second 100: one with nights and a refused candidate, one that has never done anything. */
export async function checkState(database: Database, meter: Meter): Promise<void> {
  await nights(database);
  let nowMs = 100_000;
  const meters = startStateMeters({ agents: ["stated", "idle"] }, { database, log: silentLog(), now: () => nowMs });
  await until("the first look", 10_000, async () => ((await meter.points("nightshift.run.open")).length > 0 ? true : null));
  const of = async (name: string) =>
    (await meter.points(name)).map(({ attributes, value }) => [...Object.values(attributes), value].join(" "));
  expect(await of("nightshift.run.last_good.age")).toEqual(["stated 60"]);
  expect(await of("nightshift.run.open")).toEqual(["stated working 0", "stated waiting 1", "idle working 0", "idle waiting 0"]);
  expect(await of("nightshift.run.open.age")).toEqual(["stated 10", "idle 0"]);
  expect(await of("nightshift.alarm.open")).toEqual(["stated 1", "idle 0"]);
  expect((await of("nightshift.promotion.state")).filter((line) => line.endsWith(" 1"))).toEqual(["stated refused 1"]);
  expect(await of("nightshift.promotion.state")).toHaveLength(24);
  expect(await of("nightshift.promotion.state.age")).toEqual(["stated 30"]);
  const [size] = await meter.points("nightshift.store.size");
  expect(size?.value).toBeGreaterThan(1_000_000);
  // Between two looks time goes by all the same.
  nowMs += 5_000;
  expect(await of("nightshift.run.last_good.age")).toEqual(["stated 65"]);
  expect(await of("nightshift.run.open.age")).toEqual(["stated 15", "idle 0"]);
  await meters.stop();
}

/** A good night that ended at second 40, with two alarms of which one is acknowledged; a failed one after it; one that waits since second 90. A candidate refused at second 70. */
async function nights(database: Database): Promise<void> {
  const runs = createRunStore(database, () => 0);
  const run = (id: string, nowMs: number) => runs.create({ id, tenant: "t", agent: "stated", plan: {}, nowMs });
  await run("stated-good", 1_000);
  await runs.finish("stated-good", "finished", { kind: "candidate", adapterDigest: "sha256:c", adapterName: "c" }, 40_000);
  await run("stated-bad", 50_000);
  await runs.finish("stated-bad", "failed", { kind: "failed", code: "trainer_failed", message: "", fix: "" }, 60_000);
  await run("stated-open", 90_000);
  const alarm = { run_id: "stated-good", tenant: "t", agent: "stated", body: "{}", raised_at_ms: 41_000 };
  const acknowledged = { acknowledged_at_ms: 42_000, acknowledged_by: "me", reason: "why" };
  const open = { acknowledged_at_ms: null, acknowledged_by: null, reason: null };
  await database.kysely
    .insertInto("alarms")
    .values([
      { ...alarm, id: "length", ...open },
      { ...alarm, id: "phrase", ...acknowledged },
    ])
    .execute();
  await createExperimentStore({ database, now: () => 70_000 }).submit({
    ...{ id: "stated-good", tenant: "t", agent: "stated", model: "m", runId: "stated-good", salt: "s", horizonMs: 1, automatic: true },
    candidate: { name: "c", digest: "sha256:c" },
    stable: { name: "m", digest: "sha256:m" },
    canary: QUICKSTART,
    gate: { decision: "refuse" } as never,
  });
}

/** A directory that is there, and one that is not. */
export async function checkDisk(directory: string, meter: Meter): Promise<void> {
  observeDisk(join(directory, "nowhere"));
  observeDisk(directory);
  const { bsize, blocks } = statfsSync(directory);
  await until("the disk's size", 10_000, async () => {
    const points = await meter.points("nightshift.disk.size");
    return points.length === 1 && points[0]?.value === bsize * blocks ? true : null;
  });
  const [free] = await meter.points("nightshift.disk.free");
  expect(free?.value).toBeGreaterThan(0);
  expect(free?.value).toBeLessThanOrEqual(bsize * blocks);
}

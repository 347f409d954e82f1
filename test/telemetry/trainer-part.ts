import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { silentLog } from "../../src/log.ts";
import { withIdleTrainer } from "../../src/training/idle-trainer.ts";
import type { JobRunner } from "../../src/training/job-runner.ts";
import { awaitAdapter } from "../../src/training/trainer-output.ts";
import type { meterInMemory } from "./metered.ts";
import { publish } from "./parts.ts";

/** What is measured of where trainers run: the wait for a place, and the time in one without work. */
export async function checkPlaces(directory: string, meter: Pick<ReturnType<typeof meterInMemory>, "points">): Promise<void> {
  const runDirectory = join(directory, "placed");
  const clock = { monotonicMs: 0 };
  let waits: unknown = null;
  const placed = placedTrainer(runDirectory, clock, async () => void (waits = await meter.points("nightshift.trainer.waiting")));
  const run = { runId: "run", agent: "placed", runDirectory, signal: new AbortController().signal };
  const deps = { monotonicMs: () => clock.monotonicMs, jobRunner: placed.trainer, log: silentLog() };
  await awaitAdapter({ ...run, iteration: 1, heartbeatTimeoutMs: 1_000 }, deps);
  const attributes = { "nightshift.agent": "placed" };
  expect(waits).toContainEqual({ attributes, value: 30 });
  expect(await meter.points("nightshift.trainer.waiting")).toContainEqual({ attributes, value: 0 });
  const { idleMs } = await withIdleTrainer(run, deps, () => placed.looked(3));
  expect(idleMs).toBeGreaterThanOrEqual(20_000);
  expect(await meter.points("nightshift.trainer.idle")).toContainEqual({ attributes, value: idleMs / 1_000 });
}

/** A trainer that has no place for thirty seconds of `clock`, then publishes adapter-1 after `beforeEnd`, and then waits for its batch, ten seconds at every look. */
function placedTrainer(runDirectory: string, clock: { monotonicMs: number }, beforeEnd: () => Promise<void>) {
  let looks = 0;
  const trainer: JobRunner = {
    traits: { restartsItself: true, giveBackAfterIdleMs: null },
    start: () => Promise.resolve(),
    async status() {
      looks += 1;
      if (looks > 1) clock.monotonicMs += 10_000;
      if (looks <= 4) return { status: "waiting", reason: "Unschedulable", detail: "" };
      if (looks === 5) {
        await beforeEnd();
        publish(join(runDirectory, "adapter-1"));
        const status = { heartbeat: "", phase: "waiting", iteration: 2, step: 0, outcome: null };
        writeFileSync(join(runDirectory, "status.json"), JSON.stringify(status));
      }
      return { status: "running" };
    },
    cancel: () => Promise.resolve(),
    release: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const looked = async (more: number): Promise<void> => {
    for (const wanted = looks + more; looks < wanted;) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  return { trainer, looked };
}

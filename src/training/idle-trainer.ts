import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../log.ts";
import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import type { JobRunner, TrainerJob } from "./job-runner.ts";
import { readTrainerStatus } from "./trainer-output.ts";

interface Deps {
  jobRunner: JobRunner;
  log: Logger;
  monotonicMs: () => number;
}

/** Between two looks at whether the trainer waits. */
const LOOK_EVERY_MS = 1_000;

/**
 * Does `work`, during which the trainer waits for its next batch. Its time without work is measured, and where a waiting trainer holds what others need it is stopped after a
 * while and started again when `work` is done: it goes on from its checkpoint. Resolves to what `work` does, and how long the trainer had a place and nothing to do.
 */
export async function withIdleTrainer<T>(
  { runId, agent, runDirectory, signal }: TrainerJob & { signal: AbortSignal },
  deps: Deps,
  work: () => Promise<T>,
): Promise<{ result: T; idleMs: number }> {
  const over = new AbortController();
  const idle = watchIdle({ runId, agent, runDirectory }, deps, over.signal);
  try {
    const result = await work();
    over.abort();
    const { idleMs, isStopped } = await idle;
    if (isStopped) await deps.jobRunner.start({ runId, agent, runDirectory }, { signal });
    return { result, idleMs };
  } finally {
    over.abort();
    await idle;
  }
}

async function watchIdle(
  { runId, agent, runDirectory }: TrainerJob,
  { jobRunner, log, monotonicMs }: Deps,
  signal: AbortSignal,
): Promise<{ idleMs: number; isStopped: boolean }> {
  const counted = createCounter(METRIC.trainerIdle);
  const { giveBackAfterIdleMs } = jobRunner.traits;
  let [idleMs, sinceMs] = [0, null as number | null];
  while (!signal.aborted) {
    const status = await jobRunner.status(runId, { signal }).catch(() => null);
    const isIdle = status?.status === "running" && (await readTrainerStatus(runDirectory))?.phase === "waiting";
    const nowMs = monotonicMs();
    if (isIdle && sinceMs !== null) {
      const more = nowMs - sinceMs;
      idleMs += more;
      counted.add(more / 1_000, { "nightshift.agent": agent });
    }
    sinceMs = isIdle ? nowMs : null;
    if (isIdle && giveBackAfterIdleMs !== null && idleMs >= giveBackAfterIdleMs) {
      log.info({ run_id: runId, idleMs }, "trainer stopped until its batch is there");
      // Also where the batch is there before it has stopped: it is started again then.
      await jobRunner
        .cancel(runId, { signal })
        .catch((err: unknown) => signal.aborted || log.warn({ run_id: runId, err }, "trainer not stopped"));
      return { idleMs, isStopped: true };
    }
    await sleep(LOOK_EVERY_MS, undefined, { signal, ref: false }).catch(() => undefined);
  }
  return { idleMs, isStopped: false };
}

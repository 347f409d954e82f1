import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { digestOfFile } from "../artifact/digest.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { createCounter, createGauge } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import type { JobRunner, JobStatus } from "./job-runner.ts";

/** What the trainer says of itself in status.json; unknown keys are its own business. */
const statusSchema = z.looseObject({
  heartbeat: z.string(),
  phase: z.string(),
  iteration: z.number(),
  objective: z.string().nullable().optional(),
  step: z.number(),
  outcome: z.looseObject({ status: z.string(), reason: z.string().nullable() }).nullable(),
});
export type TrainerStatus = z.infer<typeof statusSchema>;

const manifestSchema = z.looseObject({
  files: z.record(z.string(), z.looseObject({ sha256: z.string(), bytes: z.number() })),
  metrics: z.looseObject({ steps: z.int().min(0) }).optional(),
});
const MAX_RESTARTS = 3;

/** The trainer's status, or null while there is none. */
export async function readTrainerStatus(runDirectory: string): Promise<TrainerStatus | null> {
  const parsed = statusSchema.safeParse(await readJson(join(runDirectory, "status.json")));
  return parsed.success ? parsed.data : null;
}

/** Whether the trainer moved the adapter that it published, as far as its manifest says. What it did not move is the adapter before it. */
export async function isMoved(adapterDirectory: string): Promise<boolean> {
  const manifest = manifestSchema.safeParse(await readJson(join(adapterDirectory, "manifest.json")));
  return manifest.data?.metrics?.steps !== 0;
}

interface AwaitOptions {
  runId: string;
  agent: string;
  runDirectory: string;
  iteration: number;
  heartbeatTimeoutMs: number;
  signal: AbortSignal;
}

interface AwaitDeps {
  jobRunner: JobRunner;
  log: Logger;
  monotonicMs: () => number;
  /** Told once of a trainer that is silent and left alone. Unset: the log is told only. */
  silent?: (silentMs: number) => Promise<void>;
}

/**
 * Waits until the trainer has published adapter-`iteration` and its files match their manifest. A trainer that died or fell silent is started
 * again, up to three times, unless what runs it does that by itself: then a silent one is told of and waited for. Resolves to the adapter's directory.
 * @throws NightshiftError `trainer_failed`, `trainer_silent` or `trainer_no_capacity`; rejects when `signal` aborts
 */
export async function awaitAdapter(options: AwaitOptions, deps: AwaitDeps): Promise<string> {
  const gauges = { silent: createGauge(METRIC.trainerHeartbeatAge), waiting: createGauge(METRIC.trainerWaiting) };
  const agent = { "nightshift.agent": options.agent };
  try {
    return await watch(options, deps, (name, ms) => gauges[name].record(ms / 1_000, agent));
  } finally {
    for (const gauge of Object.values(gauges)) gauge.record(0, agent);
  }
}

type Measure = (name: "silent" | "waiting", ms: number) => void;

async function watch(options: AwaitOptions, deps: AwaitDeps, measure: Measure): Promise<string> {
  const directory = join(options.runDirectory, `adapter-${options.iteration}`);
  const heartbeat = createHeartbeat(options, deps);
  const restarter = createRestarter(options, deps, heartbeat);
  const { runId, signal } = options;
  for (;;) {
    if (await isComplete(directory)) return directory;
    const status = await deps.jobRunner.status(runId, { signal });
    if (status.status === "finished" && !(await isComplete(directory))) {
      throw nightshiftError("trainer_failed", { run: runId, exitCode: 0, detail: `it ended without adapter-${options.iteration}` });
    }
    if (status.status === "no_capacity") throw nightshiftError("trainer_no_capacity", { run: runId, ...status });
    if (status.status === "failed") {
      if (!status.retryable || restarter.isSpent()) {
        throw nightshiftError("trainer_failed", { run: runId, exitCode: status.exitCode, detail: status.detail });
      }
      await restarter.restart("failed");
    }
    const { silentMs, waitingMs } = await heartbeat.look(status);
    measure("silent", silentMs);
    measure("waiting", waitingMs);
    if (silentMs > options.heartbeatTimeoutMs) await restarter.rouse(silentMs);
    await sleep(50, undefined, { signal });
  }
}

interface Heartbeat {
  /** How long it has been silent, and how long it has had no place to be anything else. */
  look(status: JobStatus): Promise<{ silentMs: number; waitingMs: number }>;
  /** It is counted from now. */
  reset(): void;
}

/** A beat is a change of the text, timed by our own monotonic clock: a wall clock that jumps proves nothing. A trainer that has no place yet cannot beat. */
function createHeartbeat({ runDirectory }: AwaitOptions, { monotonicMs }: AwaitDeps): Heartbeat {
  let [text, atMs, placedAtMs] = ["", monotonicMs(), monotonicMs()];
  return {
    reset: () => (atMs = monotonicMs()),
    async look({ status }) {
      const now = (await readTrainerStatus(runDirectory))?.heartbeat ?? "";
      if (now !== text || status === "waiting") [text, atMs] = [now, monotonicMs()];
      if (status !== "waiting") placedAtMs = monotonicMs();
      return { silentMs: monotonicMs() - atMs, waitingMs: monotonicMs() - placedAtMs };
    },
  };
}

/** Starts the trainer again after a growing pause, a few times. */
function createRestarter(options: AwaitOptions, { jobRunner, log, silent }: AwaitDeps, heartbeat: Heartbeat) {
  const counted = createCounter(METRIC.trainerRestarts);
  const { runId, runDirectory, agent, signal } = options;
  let restarts = 0;
  let isTold = false;
  const restart = async (reason: "failed" | "silent"): Promise<void> => {
    restarts += 1;
    counted.add(1, { "nightshift.agent": agent, "nightshift.reason": reason });
    await sleep(500 * restarts, undefined, { signal });
    heartbeat.reset();
    await jobRunner.start({ runId, agent, runDirectory }, { signal });
  };
  return {
    isSpent: () => restarts >= MAX_RESTARTS,
    restart,
    /** A silent trainer is stopped and started again, where nobody else would. */
    async rouse(silentMs: number): Promise<void> {
      if (jobRunner.traits.restartsItself) {
        if (isTold) return;
        isTold = true;
        log.error({ run_id: runId, silentMs }, "trainer silent: nothing is done about it, look at its pod");
        await silent?.(silentMs);
        return;
      }
      if (restarts >= MAX_RESTARTS) throw nightshiftError("trainer_silent", { run: runId, silentMs });
      await jobRunner.cancel(runId, { signal });
      await restart("silent");
    },
  };
}

async function isComplete(directory: string): Promise<boolean> {
  const manifest = manifestSchema.safeParse(await readJson(join(directory, "manifest.json")));
  if (!manifest.success) return false;
  const checks = Object.entries(manifest.data.files).map(
    async ([name, { sha256 }]) => (await digestOfFile(join(directory, name))) === sha256,
  );
  return (await Promise.all(checks)).every(Boolean);
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as unknown;
  } catch {
    // Not there yet, or being renamed into place: the next look tells.
    return null;
  }
}

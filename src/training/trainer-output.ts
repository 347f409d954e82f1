import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { digestOfFile } from "../artifact/digest.ts";
import { nightshiftError } from "../errors.ts";
import { createCounter, createGauge } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import type { JobRunner } from "./job-runner.ts";

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
  monotonicMs: () => number;
}

/**
 * Waits until the trainer has published adapter-`iteration` and its files match their manifest. A trainer that died or fell silent is started
 * again, up to three times. Resolves to the adapter's directory.
 * @throws NightshiftError `trainer_failed` or `trainer_silent`; rejects when `signal` aborts
 */
export async function awaitAdapter(options: AwaitOptions, deps: AwaitDeps): Promise<string> {
  const age = createGauge(METRIC.trainerHeartbeatAge);
  const agent = { "nightshift.agent": options.agent };
  try {
    return await watch(options, deps, (silentMs) => age.record(silentMs / 1_000, agent));
  } finally {
    age.record(0, agent);
  }
}

async function watch(options: AwaitOptions, deps: AwaitDeps, onSilence: (silentMs: number) => void): Promise<string> {
  // A beat is a change of the text, timed by our own monotonic clock: a wall clock that jumps proves nothing.
  const heartbeat = { text: "", atMs: deps.monotonicMs() };
  const directory = join(options.runDirectory, `adapter-${options.iteration}`);
  const restarter = createRestarter(options, deps, heartbeat);
  for (;;) {
    if (await isComplete(directory)) return directory;
    const status = await deps.jobRunner.status(options.runId);
    if (status.status === "finished" && !(await isComplete(directory))) {
      throw nightshiftError("trainer_failed", { run: options.runId, exitCode: 0, detail: `it ended without adapter-${options.iteration}` });
    }
    if (status.status === "failed") {
      if (!status.retryable || restarter.isSpent()) {
        throw nightshiftError("trainer_failed", { run: options.runId, exitCode: status.exitCode, detail: status.detail });
      }
      await restarter.restart("failed");
    }
    const text = (await readTrainerStatus(options.runDirectory))?.heartbeat ?? "";
    if (text !== heartbeat.text) Object.assign(heartbeat, { text, atMs: deps.monotonicMs() });
    const silentMs = deps.monotonicMs() - heartbeat.atMs;
    onSilence(silentMs);
    if (silentMs > options.heartbeatTimeoutMs) {
      if (restarter.isSpent()) throw nightshiftError("trainer_silent", { run: options.runId, silentMs });
      await deps.jobRunner.cancel(options.runId);
      await restarter.restart("silent");
    }
    await sleep(50, undefined, { signal: options.signal });
  }
}

/** Starts the trainer again after a growing pause, a few times. */
function createRestarter(options: AwaitOptions, deps: AwaitDeps, heartbeat: { atMs: number }) {
  const counted = createCounter(METRIC.trainerRestarts);
  const { runId, runDirectory, agent, signal } = options;
  let restarts = 0;
  return {
    isSpent: () => restarts >= MAX_RESTARTS,
    async restart(reason: "failed" | "silent"): Promise<void> {
      restarts += 1;
      counted.add(1, { "nightshift.agent": agent, "nightshift.reason": reason });
      await sleep(500 * restarts, undefined, { signal });
      heartbeat.atMs = deps.monotonicMs();
      await deps.jobRunner.start({ runId, runDirectory }, { signal });
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

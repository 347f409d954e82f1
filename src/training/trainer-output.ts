import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { digestOfFile } from "../artifact/digest.ts";
import { nightshiftError } from "../errors.ts";
import type { JobRunner } from "./job-runner.ts";

/** What the trainer says of itself in status.json; unknown keys are its own business. */
const statusSchema = z.looseObject({
  heartbeat: z.string(),
  phase: z.string(),
  iteration: z.number(),
  step: z.number(),
  outcome: z.looseObject({ status: z.string(), reason: z.string().nullable() }).nullable(),
});
export type TrainerStatus = z.infer<typeof statusSchema>;

const manifestSchema = z.looseObject({ files: z.record(z.string(), z.looseObject({ sha256: z.string(), bytes: z.number() })) });
const MAX_RESTARTS = 3;

/** The trainer's status, or null while there is none. */
export async function readTrainerStatus(runDirectory: string): Promise<TrainerStatus | null> {
  const parsed = statusSchema.safeParse(await readJson(join(runDirectory, "status.json")));
  return parsed.success ? parsed.data : null;
}

/**
 * Waits until the trainer has published adapter-`iteration` and its files match their manifest. A trainer that died or fell silent is started
 * again, up to three times. Resolves to the adapter's directory.
 * @throws NightshiftError `trainer_failed` or `trainer_silent`; rejects when `signal` aborts
 */
export async function awaitAdapter(
  options: { runId: string; runDirectory: string; iteration: number; heartbeatTimeoutMs: number; signal: AbortSignal },
  deps: { jobRunner: JobRunner; monotonicMs: () => number },
): Promise<string> {
  const directory = join(options.runDirectory, `adapter-${options.iteration}`);
  const job = { runId: options.runId, runDirectory: options.runDirectory };
  let restarts = 0;
  // A beat is a change of the text, timed by our own monotonic clock: a wall clock that jumps proves nothing.
  let beat = { text: "", atMs: deps.monotonicMs() };
  const restart = async (): Promise<void> => {
    restarts += 1;
    await sleep(500 * restarts, undefined, { signal: options.signal });
    beat = { ...beat, atMs: deps.monotonicMs() };
    await deps.jobRunner.start(job, { signal: options.signal });
  };
  for (;;) {
    if (await isComplete(directory)) return directory;
    const status = await deps.jobRunner.status(options.runId);
    if (status.status === "finished" && !(await isComplete(directory))) {
      throw nightshiftError("trainer_failed", { run: options.runId, exitCode: 0, detail: `it ended without adapter-${options.iteration}` });
    }
    if (status.status === "failed") {
      if (!status.retryable || restarts >= MAX_RESTARTS) {
        throw nightshiftError("trainer_failed", { run: options.runId, exitCode: status.exitCode, detail: status.detail });
      }
      await restart();
    }
    const text = (await readTrainerStatus(options.runDirectory))?.heartbeat ?? "";
    if (text !== beat.text) beat = { text, atMs: deps.monotonicMs() };
    const silentMs = deps.monotonicMs() - beat.atMs;
    if (silentMs > options.heartbeatTimeoutMs) {
      if (restarts >= MAX_RESTARTS) throw nightshiftError("trainer_silent", { run: options.runId, silentMs });
      await deps.jobRunner.cancel(options.runId);
      await restart();
    }
    await sleep(50, undefined, { signal: options.signal });
  }
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

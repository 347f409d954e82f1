import { setTimeout as sleep } from "node:timers/promises";
import { makeDirectory } from "../artifact/durable-file.ts";
import type { Objects } from "../artifact/objects.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { listEntries } from "./mirror-entry.ts";
import {
  forgetCheckpoints,
  hasRunFile,
  pullDirectories,
  pullFile,
  pullRunFile,
  pushDirectories,
  pushFile,
  pushRunFile,
  restoreCheckpoint,
  RUN_ENTRY,
  type Mirrored,
} from "./mirror-pass.ts";

type Signal = AbortSignal | undefined;

/** Who has this copy of the run directory: the control service, or the trainer's job. */
export type MirrorSide = "control" | "trainer";

export interface RunMirrorOptions {
  runId: string;
  runDirectory: string;
  side: MirrorSide;
  /** Pause between passes. */
  intervalMs: number;
}

/** Keeps a run directory and its copy in a bucket alike, each side bringing what it wrote and taking what the other wrote. Only one process per side. */
export interface RunMirror {
  /**
   * Before anything else. On the trainer's side it resolves when the directory holds all that a trainer needs to begin, or to go on where one was lost: its
   * newest whole checkpoint, its adapters, what it starts from, and run.json as the last file. On the control side it brings those to the bucket, or takes them from there where
   * another process began the run.
   */
  prepare(options: { signal: AbortSignal }): Promise<void>;
  /**
   * Passes until `signal` aborts, outages of the bucket waited for; then a last one, so that nothing that was written is left behind.
   * @throws NightshiftError when that last one fails
   */
  run(options: { signal: AbortSignal }): Promise<void>;
}

/** Directories by who writes them; each is there once and never changes. */
const WRITTEN_BY: Readonly<Record<MirrorSide, RegExp>> = {
  control: /^(?:start-adapter|batch-\d+)$/,
  trainer: /^(?:adapter|checkpoint)-\d+$/,
};
/** The trainer's side gives checkpoints and takes them back only after a loss; the control side has no use for them. */
const TAKEN_BY: Readonly<Record<MirrorSide, RegExp>> = { control: /^adapter-\d+$/, trainer: WRITTEN_BY.control };
const NEEDED_TO_BEGIN = /^(?:start-adapter|adapter-\d+)$/;
/** Written again and again by the trainer while it works; the status speaks of the metrics and comes after them. */
const CHANGING = ["metrics.jsonl", "status.json"] as const;
const LONGEST_PAUSE_MS = 30_000;

export function createRunMirror(options: RunMirrorOptions, deps: { objects: Objects; log: Logger }): RunMirror {
  const { runId, runDirectory, side } = options;
  const log = deps.log.child({ run_id: runId });
  const at: Mirrored = { objects: deps.objects, prefix: `runs/${runId}/`, runDirectory, log, copied: new Map() };
  return {
    async prepare({ signal }) {
      await makeDirectory(runDirectory);
      const work = side === "control" ? offer : begin;
      for (let failures = 1; ; failures += 1) {
        try {
          return await work(at, signal);
        } catch (error) {
          signal.throwIfAborted();
          await pauseAfter(error, failures, options, { log, signal });
        }
      }
    },
    async run({ signal }) {
      const lane = (pass: Pass) => repeat(() => pass(at, side, signal), options, { log, signal });
      // A large checkpoint on its way must not hold the heartbeat back.
      await Promise.all([lane(directories), lane(changingFiles)]);
      await directories(at, side, undefined);
      await changingFiles(at, side, undefined);
    },
  };
}

type Pass = (at: Mirrored, side: MirrorSide, signal: Signal) => Promise<void>;

async function offer(at: Mirrored, signal: Signal): Promise<void> {
  const remote = await entries(at, signal);
  if (remote.has(RUN_ENTRY) && !(await hasRunFile(at))) await pullRunFile(at, signal);
  await directories(at, "control", signal);
  await pushRunFile(at, signal);
}

async function begin(at: Mirrored, signal: Signal): Promise<void> {
  const remote = await entries(at, signal);
  if (!remote.has(RUN_ENTRY)) throw nightshiftError("artifact_missing", { what: `${at.prefix}${RUN_ENTRY}` });
  await pullDirectories(at, NEEDED_TO_BEGIN, remote, signal);
  await restoreCheckpoint(at, remote, signal);
  await pullFile(at, "metrics.jsonl", signal);
  await pullRunFile(at, signal);
}

async function directories(at: Mirrored, side: MirrorSide, signal: Signal): Promise<void> {
  const remote = await entries(at, signal);
  await pushDirectories(at, WRITTEN_BY[side], remote, signal);
  await pullDirectories(at, TAKEN_BY[side], remote, signal);
  if (side === "trainer") await forgetCheckpoints(at, remote, signal);
}

async function changingFiles(at: Mirrored, side: MirrorSide, signal: Signal): Promise<void> {
  for (const file of CHANGING) await (side === "trainer" ? pushFile : pullFile)(at, file, signal);
}

async function entries({ objects, prefix }: Mirrored, signal: Signal): Promise<ReadonlySet<string>> {
  return new Set(await listEntries(objects, prefix, signal));
}

interface Waiting {
  log: Logger;
  signal: AbortSignal;
}

async function repeat(pass: () => Promise<void>, options: RunMirrorOptions, { log, signal }: Waiting): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      await pass();
      failures = 0;
      await sleep(options.intervalMs, undefined, { signal });
    } catch (error) {
      // An abort ends the sleep, or breaks a pass off, at any point.
      if (signal.aborted) return;
      failures += 1;
      await pauseAfter(error, failures, options, { log, signal }).catch(() => undefined);
    }
  }
}

async function pauseAfter(error: unknown, failures: number, { intervalMs }: RunMirrorOptions, { log, signal }: Waiting): Promise<void> {
  log.warn({ err: error, failures }, "run directory: pass failed, it is repeated");
  await sleep(Math.min(LONGEST_PAUSE_MS, intervalMs * 2 ** Math.min(failures, 10)), undefined, { signal });
}

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Logger } from "../log.ts";
import type { JobRunner, JobStatus, TrainerJob } from "./job-runner.ts";
import { digestsPath } from "./run-files.ts";

/** Exit codes of the trainer that no restart can mend: bad config, bad dataset. */
const PERMANENT = new Set([64, 65]);

/** How long a trainer that was asked to stop may take for its checkpoint. */
const GRACE_MS = 30_000;

interface LocalOptions {
  python: string;
  /** Where the package `nightshift_trainer` is. */
  trainerDirectory: string;
  /** From SIGTERM to SIGKILL. */
  graceMs?: number;
}

interface Job {
  child: ChildProcess;
  exit: { code: number | null } | null;
  lastLine: string;
}

/**
 * The trainer as a child process. It ends by itself when this process dies (its stdin closes), and its own lock on the run directory refuses
 * a second one; so after a kill -9 the next `start` waits for the lock and resumes from the newest complete checkpoint.
 */
export function createLocalJobRunner(config: LocalOptions, deps: { log: Logger }): JobRunner {
  const jobs = new Map<string, Job>();
  const { graceMs = GRACE_MS } = config;
  const end = async (runId: string): Promise<void> => {
    await stop(jobs.get(runId), graceMs);
    jobs.delete(runId);
  };

  return {
    traits: { restartsItself: false, giveBackAfterIdleMs: null },
    async start(job) {
      const existing = jobs.get(job.runId);
      if (existing !== undefined && existing.exit === null) return;
      jobs.set(job.runId, launch(config, deps.log, job));
    },

    async status(runId): Promise<JobStatus> {
      const job = jobs.get(runId);
      if (job === undefined) return { status: "failed", exitCode: null, retryable: true, detail: "no trainer was started by this process" };
      if (job.exit === null) return { status: "running" };
      if (job.exit.code === 0) return { status: "finished" };
      const exitCode = job.exit.code;
      return { status: "failed", exitCode, retryable: exitCode === null || !PERMANENT.has(exitCode), detail: job.lastLine };
    },

    cancel: end,
    // A child of this process cannot be handed over: whoever goes on starts one from its checkpoint.
    release: end,

    async close() {
      await Promise.all([...jobs.values()].map((job) => stop(job, graceMs)));
      jobs.clear();
    },
  };
}

function launch(config: LocalOptions, log: Logger, { runId, agent, runDirectory }: TrainerJob): Job {
  const cache = join(dirname(runDirectory), digestsPath(agent));
  const args = ["-m", "nightshift_trainer", "train", runDirectory, "--cache", cache, "--exit-with-stdin"];
  const child = spawn(config.python, args, { cwd: config.trainerDirectory, stdio: ["pipe", "ignore", "pipe"] });
  const job: Job = { child, exit: null, lastLine: "" };
  log.info({ run_id: runId, pid: child.pid }, "trainer started");
  if (child.stderr !== null) {
    createInterface({ input: child.stderr }).on("line", (line) => {
      job.lastLine = line.slice(0, 500);
      log.debug({ run_id: runId, line: job.lastLine }, "trainer");
    });
  }
  child.on("error", (error) => {
    job.exit = { code: null };
    job.lastLine = error.message;
  });
  child.on("close", (code) => {
    job.exit ??= { code };
    log.info({ run_id: runId, exit_code: code }, "trainer ended");
  });
  return job;
}

/** SIGTERM lets the trainer write a checkpoint; one that is stuck is killed after the grace period. */
async function stop(job: Job | undefined, graceMs: number): Promise<void> {
  if (job === undefined || job.exit !== null) return;
  const ended = once(job.child, "close");
  job.child.kill("SIGTERM");
  const timer = setTimeout(() => job.child.kill("SIGKILL"), graceMs);
  await ended;
  clearTimeout(timer);
}

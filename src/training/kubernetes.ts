import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { watchList, type Cluster } from "../cluster.ts";
import type { KubernetesJobConfig } from "../config-job-runner.ts";
import { NightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { JobRunner, JobStatus } from "./job-runner.ts";
import { describeEnd, jobStatus, podEnds } from "./job-status.ts";
import { job, RUN_LABEL } from "./job.ts";
import type { JobTemplate } from "./job-template.ts";
import { createJobCalls, pauseAfter, type JobCalls } from "./kubernetes/job-calls.ts";
import { digestsPath } from "./run-files.ts";

export interface KubernetesJobRunnerOptions {
  config: KubernetesJobConfig;
  /** What the operator wants changed in every Job; read from its file already. */
  template: JobTemplate | undefined;
}

interface Deps {
  cluster: Cluster;
  log: Logger;
  /** By the clock that the API server's times are compared with. */
  now: () => number;
}

/** What was last seen of a run's Job. */
interface Seen {
  status: JobStatus;
  /** By `performance.now()`. */
  atMs: number;
  /** How many changes the watch had told of when it was asked for. */
  changes: number;
  failures: number;
  /** Pods whose end was told of. */
  ended: ReadonlySet<string>;
}

/** Without an event a Job is looked at again after so long: a watch may have missed one. */
const LOOK_AGAIN_MS = 10_000;
/** Long enough that nobody counts on it, short enough that the caller, who comes again, can be stopped. */
const START_TRIES_MS = 60_000;

/**
 * The trainer as a Kubernetes Job. The run's Job, by its name, is all the state that there is: the API server makes one of two that are created at once, another process
 * adopts it, and its deletion keeps the name until the last pod has ended. A watch says when to look; what is told is always read anew.
 */
export function createKubernetesJobRunner({ config, template }: KubernetesJobRunnerOptions, deps: Deps): JobRunner {
  const { log } = deps;
  const seen = new Map<string, Seen>();
  const closing = new AbortController();
  const calls = createJobCalls({ namespace: config.namespace ?? deps.cluster.namespace }, deps);
  let changes = 0;
  const watch = createJobWatch(calls, { ...deps, changed: () => (changes += 1), signal: closing.signal });

  const look = async (runId: string, signal: AbortSignal | undefined): Promise<JobStatus> => {
    const before = seen.get(runId);
    if (before !== undefined && before.changes === changes && performance.now() - before.atMs < freshMs(before)) return before.status;
    watch.begin();
    const asked = { changes, atMs: performance.now() };
    try {
      const found = await calls.read(runId, { ...(signal === undefined ? {} : { signal }) });
      const status = jobStatus(found, { nowMs: deps.now(), unschedulableAfterMs: config.unschedulableAfterMs });
      const ends = podEnds(found.pods);
      for (const end of ends)
        if (before?.ended.has(end.pod) === false) log.warn({ run_id: runId, end: describeEnd(end) }, "trainer pod ended");
      seen.set(runId, { ...asked, status, failures: 0, ended: new Set(ends.map(({ pod }) => pod)) });
      tellChange(log, runId, before?.status, status);
      return status;
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof NightshiftError)) throw error;
      const status: JobStatus = { status: "unknown", detail: error.message };
      const { failures = 0, ended = new Set<string>() } = before ?? {};
      seen.set(runId, { ...asked, status, failures: failures + 1, ended });
      tellChange(log, runId, before?.status, status);
      return status;
    }
  };

  return {
    traits: { restartsItself: true, giveBackAfterIdleMs: config.giveBackAfterIdleMs },
    async start({ runId, agent, runDirectory }, { signal } = {}) {
      // The kubelet would make it as root's, which not every volume lets it. What cannot be made here is left to it.
      if (config.runDirectory.kind === "claim")
        await mkdir(join(dirname(runDirectory), digestsPath(agent)), { recursive: true }).catch(() => undefined);
      await create(job({ runId, agent }, config, template), { runId, signal }, { calls, log });
      seen.delete(runId);
      watch.begin();
    },
    status: (runId, { signal } = {}) => look(runId, signal),
    async cancel(runId, { signal } = {}) {
      await remove(runId, { calls, log, signal: signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]) });
      seen.delete(runId);
    },
    release(runId) {
      seen.delete(runId);
      return Promise.resolve();
    },
    async close() {
      closing.abort();
      await watch.ended();
    },
  };
}

/** How long an answer stands while the watch tells of no change. */
function freshMs({ status, failures }: Seen): number {
  return status.status === "unknown" ? pauseAfter(failures) : LOOK_AGAIN_MS;
}

/** Creates the Job, or finds it. One that is being deleted is waited for: its last pod may still be writing. */
async function create(
  manifest: ReturnType<typeof job>,
  { runId, signal }: { runId: string; signal: AbortSignal | undefined },
  { calls, log }: { calls: JobCalls; log: Logger },
): Promise<void> {
  const untilMs = performance.now() + START_TRIES_MS;
  for (let failures = 0; ;) {
    signal?.throwIfAborted();
    try {
      const result = await calls.create(runId, manifest, signal);
      if (result === "created" || result === "exists") {
        log.info({ run_id: runId, job: manifest.metadata?.name }, result === "created" ? "trainer job created" : "trainer job adopted");
        return;
      }
      if (failures === 0) log.info({ run_id: runId }, "trainer job waits for the end of the one before");
      failures = 1;
    } catch (error) {
      if (!isOutage(error) || performance.now() > untilMs) throw error;
      failures += 1;
      log.warn({ run_id: runId, failures, err: error }, "trainer job not created, it is tried again");
    }
    await sleep(pauseAfter(failures), undefined, signal === undefined ? {} : { signal });
  }
}

/** Asked for whatever `signal` says; waited for until it aborts. */
async function remove(runId: string, { calls, log, signal }: { calls: JobCalls; log: Logger; signal: AbortSignal }): Promise<void> {
  let isAsked = false;
  for (let failures = 0; ;) {
    try {
      if (!isAsked) isAsked = (await calls.remove(runId)) === "asked";
      signal.throwIfAborted();
      if (isAsked && (await calls.isGone(runId, signal))) return;
      failures = 0;
    } catch (error) {
      if (signal.aborted || !isOutage(error)) throw error;
      failures += 1;
      log.warn({ run_id: runId, failures, err: error }, "trainer job not deleted yet, it is tried again");
    }
    await sleep(pauseAfter(failures), undefined, { signal });
  }
}

function tellChange(log: Logger, runId: string, before: JobStatus | undefined, now: JobStatus): void {
  if (before !== undefined && reasonOf(before) === reasonOf(now)) return;
  const isBad = now.status === "failed" || now.status === "unknown" || now.status === "no_capacity";
  log[isBad ? "warn" : "info"]({ run_id: runId, ...now }, "trainer job");
}

function reasonOf(status: JobStatus): string {
  return status.status === "waiting" ? `waiting ${status.reason}` : status.status;
}

function isOutage(error: unknown): boolean {
  return error instanceof NightshiftError && error.code === "cluster_unavailable";
}

/** Follows Jobs and pods of all runs once the first is asked for. */
function createJobWatch(
  { namespace, jobsPath, podsPath }: Pick<JobCalls, "namespace" | "jobsPath" | "podsPath">,
  { cluster, log, changed, signal }: Deps & { changed: () => unknown; signal: AbortSignal },
): { begin(): void; ended(): Promise<unknown> } {
  let following: Promise<unknown> | null = null;
  const follow = (what: string, path: string): Promise<void> =>
    watchList(
      { what: `${what} of namespace ${namespace}`, path, labelSelector: RUN_LABEL },
      { cluster, changed: () => void changed(), log },
      { signal },
    );
  return {
    begin() {
      following ??= Promise.all([follow("trainer jobs", jobsPath), follow("trainer pods", podsPath)]);
    },
    ended: () => following ?? Promise.resolve(),
  };
}

import { TRAINER } from "./job.ts";
import type { JobStatus } from "./job-runner.ts";

/** What is read of a Job, as its JSON has it. Times are RFC 3339. */
export interface JobObject {
  metadata: { name: string; uid: string; creationTimestamp: string; deletionTimestamp?: string; labels?: Record<string, string> };
  status?: { startTime?: string; failed?: number; conditions?: Condition[] };
}

/** What is read of a pod. */
export interface PodObject {
  metadata: { name: string; uid?: string; creationTimestamp: string; deletionTimestamp?: string };
  status?: {
    phase?: string;
    reason?: string;
    message?: string;
    conditions?: Condition[];
    containerStatuses?: ContainerStatus[];
    initContainerStatuses?: ContainerStatus[];
  };
}

interface Condition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

interface ContainerStatus {
  name: string;
  state?: {
    waiting?: { reason?: string; message?: string };
    running?: object;
    terminated?: { exitCode: number; reason?: string; message?: string; finishedAt?: string };
  };
}

/** How one pod ended. */
export interface PodEnd {
  pod: string;
  /** Of the trainer; null where it was taken away before it said one. */
  exitCode: number | null;
  /** `OOMKilled`, `Evicted`, `Error`, …; Kubernetes' own words. */
  reason: string;
  /** Whether the cluster took it away: that is no crash, and not counted. */
  isDisrupted: boolean;
  /** What it said last; empty where nothing is known. */
  lastWords: string;
  endedAtMs: number;
}

/**
 * What a Job and its pods say of the run's trainer. Pure. A trainer that waits longer than `unschedulableAfterMs` for a node, for quota or for its turn in a queue has found no
 * capacity; one that waits for anything else, an image say, goes on waiting until its Job's deadline.
 * @param job Null where there is none.
 * @param queue Why a queue has not admitted it, in the queue's words, where they are known.
 */
export function jobStatus(
  { job, pods, queue = null }: { job: JobObject | null; pods: readonly PodObject[]; queue?: string | null },
  { nowMs, unschedulableAfterMs }: { nowMs: number; unschedulableAfterMs: number },
): JobStatus {
  if (job === null)
    return { status: "failed", exitCode: null, retryable: true, detail: "its Job is gone: somebody deleted it, or its time was over" };
  if (job.metadata.deletionTimestamp !== undefined) return waiting("Deleted", "its Job is being deleted");
  if (conditionOf(job.status, "Complete") !== undefined) return { status: "finished" };
  const failed = conditionOf(job.status, "Failed");
  if (failed !== undefined) return failure(failed, pods);
  const suspended = conditionOf(job.status, "Suspended");
  const place =
    suspended === undefined
      ? placeOf(job, pods)
      : {
          ...placeless("Suspended", `its Job is suspended: a queue has not admitted it${queue === null ? "" : ` (${queue})`}`),
          sinceMs: timeOf(suspended),
        };
  if (place === null) return { status: "running" };
  const { reason, detail, sinceMs } = place;
  if (sinceMs === null || nowMs - sinceMs < unschedulableAfterMs) return waiting(reason, detail);
  return { status: "no_capacity", waitedMs: nowMs - sinceMs, detail };
}

/** How the run's pods ended that have, in that order. */
export function podEnds(pods: readonly PodObject[]): PodEnd[] {
  return pods.flatMap((pod) => endOf(pod) ?? []).toSorted((a, b) => a.endedAtMs - b.endedAtMs);
}

/** One end in words, for logs and errors. */
export function describeEnd({ pod, exitCode, reason, isDisrupted, lastWords }: PodEnd): string {
  const what =
    reason === "OOMKilled"
      ? "was killed because it needed more memory than it may (OOMKilled): raise resources.limits.memory, or lower what the run holds at once"
      : isDisrupted
        ? `was taken away by the cluster (${reason})`
        : `ended with exit code ${exitCode ?? "none"} (${reason})`;
  return `pod ${pod} ${what}${lastWords === "" ? "" : `: ${lastWords}`}`;
}

/** Why the trainer is not at work; `sinceMs` is null where that is no question of capacity. Null where it is at work. */
interface Waiting {
  reason: string;
  detail: string;
  sinceMs: number | null;
}

function placeOf(job: JobObject, pods: readonly PodObject[]): Waiting | null {
  const live = pods.find(
    ({ metadata, status }) => metadata.deletionTimestamp === undefined && (status?.phase === "Pending" || status?.phase === "Running"),
  );
  if (live !== undefined) return live.status?.phase === "Running" ? null : pendingOf(live);
  const leaving = pods.find(
    ({ metadata, status }) =>
      metadata.deletionTimestamp !== undefined && endOf({ metadata, ...(status === undefined ? {} : { status }) }) === null,
  );
  if (leaving !== undefined) return { reason: "Terminating", detail: `pod ${leaving.metadata.name} is still ending`, sinceMs: null };
  const ends = podEnds(pods).map(({ endedAtMs }) => endedAtMs);
  const sinceMs = Math.max(Date.parse(job.status?.startTime ?? job.metadata.creationTimestamp), ...ends);
  return { ...placeless("NoPod", "no pod was made for it: a quota may be used up"), sinceMs };
}

function pendingOf(pod: PodObject): Waiting {
  const scheduled = pod.status?.conditions?.find(({ type }) => type === "PodScheduled");
  if (scheduled?.status === "False")
    return {
      reason: scheduled.reason ?? "Unschedulable",
      detail: `no node takes pod ${pod.metadata.name}: ${scheduled.message ?? "no reason given"}`,
      sinceMs: timeOf(scheduled),
    };
  if (scheduled === undefined)
    return {
      reason: "Unscheduled",
      detail: `no scheduler has looked at pod ${pod.metadata.name}`,
      sinceMs: Date.parse(pod.metadata.creationTimestamp),
    };
  const containers = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const held = containers.find(({ state }) => state?.waiting?.reason !== undefined && state.waiting.reason !== "PodInitializing");
  const { reason, message } = held?.state?.waiting ?? {};
  const detail = `pod ${pod.metadata.name} is being started${held === undefined ? "" : `: container ${held.name} waits, ${reason}${message === undefined ? "" : ` (${message})`}`}`;
  return { reason: reason ?? "Starting", detail, sinceMs: null };
}

/** Whether a queue, or somebody, holds the Job back. */
export function isSuspended({ status }: JobObject): boolean {
  return conditionOf(status, "Suspended") !== undefined;
}

function failure(failed: Condition, pods: readonly PodObject[]): JobStatus {
  const ends = podEnds(pods);
  const last = ends.findLast(({ isDisrupted }) => !isDisrupted) ?? ends.at(-1);
  const told = `${failed.reason ?? "Failed"}: ${failed.message ?? "no reason given"}`;
  // The Job has started it again as often as it may: doing so here would only count anew.
  return {
    status: "failed",
    exitCode: last?.exitCode ?? exitCodeIn(failed),
    retryable: false,
    detail: last === undefined ? told : `${told}; ${describeEnd(last)}`,
  };
}

/** Pods go sooner than their Job: what ended it is then in the condition's words only. */
function exitCodeIn({ reason, message }: Condition): number | null {
  if (reason !== "PodFailurePolicy") return null;
  const [, code] = /exit code (\d+)/.exec(message ?? "") ?? [];
  return code === undefined ? null : Number(code);
}

function endOf({ metadata, status }: PodObject): PodEnd | null {
  const disrupted = status?.conditions?.find(({ type, status: value }) => type === "DisruptionTarget" && value === "True");
  if (status?.phase !== "Failed" && status?.phase !== "Succeeded") return null;
  const all = [...(status.containerStatuses ?? []), ...(status.initContainerStatuses ?? [])];
  const trainer = all.find(({ name }) => name === TRAINER)?.state?.terminated;
  const other = all.find(({ name, state }) => name !== TRAINER && (state?.terminated?.exitCode ?? 0) !== 0);
  // A trainer that never began: what brings its files failed before it.
  const from = trainer ?? other?.state?.terminated;
  const reason = from?.reason === "OOMKilled" ? from.reason : (disrupted?.reason ?? status.reason ?? from?.reason ?? status.phase);
  const words = lastLineOf(from?.message ?? status.message ?? disrupted?.message ?? "");
  return {
    pod: metadata.name,
    exitCode: trainer?.exitCode ?? null,
    reason,
    isDisrupted: disrupted !== undefined,
    lastWords: trainer === undefined && other !== undefined ? `${other.name}: ${words}` : words,
    endedAtMs: Date.parse(from?.finishedAt ?? metadata.deletionTimestamp ?? metadata.creationTimestamp),
  };
}

function conditionOf(of: { conditions?: Condition[] } | undefined, type: string): Condition | undefined {
  return of?.conditions?.find((condition) => condition.type === type && condition.status === "True");
}

function timeOf({ lastTransitionTime }: Condition): number | null {
  return lastTransitionTime === undefined ? null : Date.parse(lastTransitionTime);
}

function placeless(reason: string, detail: string): Omit<Waiting, "sinceMs"> {
  return { reason, detail };
}

function waiting(reason: string, detail: string): JobStatus {
  return { status: "waiting", reason, detail };
}

function lastLineOf(text: string): string {
  return (text.trimEnd().split("\n").at(-1) ?? "").slice(0, 500);
}

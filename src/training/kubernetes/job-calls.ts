import type { V1Job } from "@kubernetes/client-node";
import type { Cluster, ClusterAnswer, ClusterRequest } from "../../cluster.ts";
import { nightshiftError } from "../../errors.ts";
import { isSuspended, type JobObject, type PodObject } from "../job-status.ts";
import { jobName, QUEUE_LABEL, RUN_LABEL, runLabel } from "../job.ts";
import { readQueueWord } from "./queue.ts";

/** The few requests that a run's Job takes. All of them reject with `cluster_unavailable` while the API server cannot be asked, `cluster_refused` where it says no. */
export interface JobCalls {
  readonly namespace: string;
  readonly jobsPath: string;
  readonly podsPath: string;
  /** `leaving`: one of that name is being deleted, or a pod of it is still ending. @throws NightshiftError `trainer_job_refused` */
  create(runId: string, manifest: V1Job, signal: AbortSignal | undefined): Promise<"created" | "exists" | "leaving">;
  /** `queue`: why Kueue has not admitted a Job that it holds back; null where it says nothing. */
  read(runId: string, options: { signal?: AbortSignal }): Promise<{ job: JobObject | null; pods: PodObject[]; queue: string | null }>;
  /** Asks for its end. Foreground: the Job, and so its name, is there until its last pod has ended. */
  remove(runId: string): Promise<"asked">;
  /** Neither the Job nor a pod that may still run is there. */
  isGone(runId: string, signal: AbortSignal): Promise<boolean>;
}

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;

/** Between two tries: it doubles with every failure, up to ten seconds. */
export function pauseAfter(failures: number): number {
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 10));
}

export function createJobCalls({ namespace }: { namespace: string }, { cluster }: { cluster: Cluster }): JobCalls {
  const jobsPath = `/apis/batch/v1/namespaces/${namespace}/jobs`;
  const podsPath = `/api/v1/namespaces/${namespace}/pods`;
  const ask = (request: Omit<ClusterRequest, "what">, what: string, options: { signal?: AbortSignal }): Promise<ClusterAnswer> =>
    cluster.ask({ ...request, what }, options);
  const readJob = async (runId: string, options: { signal?: AbortSignal }): Promise<JobObject | null> => {
    const what = `job ${namespace}/${jobName(runId)}`;
    const answer = await ask({ method: "GET", path: `${jobsPath}/${jobName(runId)}` }, what, options);
    return answer.status === 404 ? null : accepted<JobObject>(what, answer);
  };
  const readPods = async (runId: string, options: { signal?: AbortSignal }): Promise<PodObject[]> => {
    const what = `pods of job ${namespace}/${jobName(runId)}`;
    const query = { labelSelector: `${RUN_LABEL}=${runLabel(runId)}` };
    return accepted<{ items: PodObject[] }>(what, await ask({ method: "GET", path: podsPath, query }, what, options)).items;
  };
  const arePodsOver = async (runId: string, options: { signal?: AbortSignal }): Promise<boolean> =>
    (await readPods(runId, options)).every(({ status }) => status?.phase === "Succeeded" || status?.phase === "Failed");

  return {
    namespace,
    jobsPath,
    podsPath,
    async create(runId, manifest, signal) {
      const what = `job ${namespace}/${jobName(runId)}`;
      const options = signal === undefined ? {} : { signal };
      const existing = await readJob(runId, options);
      if (existing !== null) return foundOf(existing, runId);
      // Somebody may have deleted its Job in the background, which frees the name while the pod is still ending.
      if (!(await arePodsOver(runId, options))) return "leaving";
      // Strict: what an operator's template misspells is refused, not left out.
      const request = { method: "POST", path: jobsPath, query: { fieldValidation: "Strict" }, body: manifest } as const;
      const answer = await ask(request, what, options);
      if (answer.status < 300) return "created";
      if (answer.status === 409) return foundOf(await readJob(runId, options), runId);
      throw refusal(what, answer, (problem) => nightshiftError("trainer_job_refused", { run: runId, status: answer.status, problem }));
    },
    async read(runId, options) {
      const found = await readJob(runId, options);
      if (found === null) return { job: null, pods: [], queue: null };
      const isQueued = isSuspended(found) && found.metadata.labels?.[QUEUE_LABEL] !== undefined;
      const queue = isQueued ? await readQueueWord({ namespace, jobUid: found.metadata.uid }, cluster, options) : null;
      return { job: found, pods: await readPods(runId, options), queue };
    },
    async remove(runId) {
      const what = `job ${namespace}/${jobName(runId)}`;
      const answer = await ask(
        { method: "DELETE", path: `${jobsPath}/${jobName(runId)}`, query: { propagationPolicy: "Foreground" } },
        what,
        {},
      );
      if (answer.status !== 404) accepted(what, answer);
      return "asked";
    },
    async isGone(runId, signal) {
      return (await readJob(runId, { signal })) === null && (await arePodsOver(runId, { signal }));
    },
  };
}

function foundOf(job: JobObject | null, runId: string): "exists" | "leaving" {
  if (job === null || job.metadata.deletionTimestamp !== undefined) return "leaving";
  if (job.metadata.labels?.[RUN_LABEL] === runLabel(runId)) return "exists";
  throw nightshiftError("trainer_job_refused", {
    run: runId,
    status: 409,
    problem: `job ${jobName(runId)} is there and is not this run's`,
  });
}

function accepted<T>(what: string, answer: ClusterAnswer): T {
  if (answer.status < 300) return answer.body as T;
  throw refusal(what, answer, (problem) => nightshiftError("cluster_refused", { what, status: answer.status, problem }));
}

/** A token that has run out is renewed by the kubelet: an outage, like a server that does not answer. */
function refusal(what: string, { status, body }: ClusterAnswer, refused: (problem: string) => Error): Error {
  const problem = (body as { message?: string } | null)?.message ?? "without a reason";
  return status === 401 ? nightshiftError("cluster_unavailable", { what, problem: `it answered 401 (${problem})` }) : refused(problem);
}

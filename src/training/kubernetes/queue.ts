import { z } from "zod";
import type { Cluster } from "../../cluster.ts";
import { NightshiftError } from "../../errors.ts";

/** What Kueue's objects are asked for by, newest first: each release serves at least one of the two. */
const VERSIONS = ["v1beta2", "v1beta1"] as const;
/** Kueue marks the Workload that it makes for a Job with the Job's uid. */
const JOB_UID = "kueue.x-k8s.io/job-uid";

const workloadsSchema = z.object({
  items: z.array(
    z.object({
      status: z
        .object({
          conditions: z
            .array(z.object({ type: z.string(), status: z.string(), reason: z.string().default(""), message: z.string().default("") }))
            .default([]),
        })
        .default({ conditions: [] }),
    }),
  ),
});

/** Whether the LocalQueue is there; null where it may not be looked at. @throws NightshiftError `cluster_unavailable` */
export async function isQueueThere({ namespace, queue }: { namespace: string; queue: string }, cluster: Cluster): Promise<boolean | null> {
  const answer = await askKueue(`namespaces/${namespace}/localqueues/${queue}`, {}, "the queue", cluster, {});
  if (answer.status < 300) return true;
  return answer.status === 404 ? false : null;
}

/**
 * Why Kueue has not admitted a Job, in its words: `WaitingForQuota: couldn't assign flavors …`. Null where it says nothing, or where it cannot or may not be asked: a Job's
 * own state decides, this only explains it.
 */
export async function readQueueWord(
  { namespace, jobUid }: { namespace: string; jobUid: string },
  cluster: Cluster,
  options: { signal?: AbortSignal },
): Promise<string | null> {
  const query = { labelSelector: `${JOB_UID}=${jobUid}` };
  const what = `the workload of job ${jobUid}`;
  const answer = await askKueue(`namespaces/${namespace}/workloads`, query, what, cluster, options).catch((error: unknown) => {
    // Its own conversion webhook may be down.
    if (error instanceof NightshiftError && error.code === "cluster_unavailable") return null;
    throw error;
  });
  const parsed = workloadsSchema.safeParse(answer?.body);
  if (answer === null || answer.status >= 300 || !parsed.success) return null;
  const conditions = parsed.data.items.flatMap((workload) => workload.status.conditions);
  // Quota comes before admission, which may wait for further checks.
  const held = ["QuotaReserved", "Admitted"].flatMap((type) => conditions.filter((one) => one.type === type && one.status === "False"))[0];
  return held === undefined ? null : `${held.reason}: ${held.message}`;
}

async function askKueue(
  path: string,
  query: Readonly<Record<string, string>>,
  what: string,
  cluster: Cluster,
  options: { signal?: AbortSignal },
): Promise<{ status: number; body: unknown }> {
  let answer: { status: number; body: unknown } = { status: 404, body: null };
  for (const version of VERSIONS) {
    answer = await cluster.ask({ what, method: "GET", path: `/apis/kueue.x-k8s.io/${version}/${path}`, query }, options);
    // Also what a version that is not served is answered with.
    if (answer.status !== 404) break;
  }
  return answer;
}

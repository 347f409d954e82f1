import type { V1Job } from "@kubernetes/client-node";
import type { Cluster } from "../../cluster.ts";
import { isQueueThere } from "./queue.ts";

/** What a Kubernetes API says of making trainers' Jobs there. */
export interface ClusterFacts {
  namespace: string;
  /** Rights that whoever asks does not have, such as `delete jobs`. */
  lacking: readonly string[];
  /** Why a Job like a run's is not accepted; null where it is, or where it may not be tried. */
  refusal: string | null;
  /** Whether the queue is there; null where none is wanted or it may not be looked at. */
  hasQueue: boolean | null;
}

const RIGHTS = [
  ...["create", "get", "delete", "list", "watch"].map((verb) => ({ verb, group: "batch", resource: "jobs" })),
  ...["get", "list", "watch"].map((verb) => ({ verb, group: "", resource: "pods" })),
];

/** Asks for every right that the Kubernetes job runner needs, and has the API server check a Job without keeping it. @throws NightshiftError `cluster_unavailable` */
export async function examineCluster(
  { namespace, trial, queue }: { namespace: string; trial: V1Job; queue: string | undefined },
  cluster: Cluster,
): Promise<ClusterFacts> {
  const lacking: string[] = [];
  for (const { verb, group, resource } of RIGHTS) {
    if (!(await mayI({ verb, group, resource, namespace }, cluster))) lacking.push(`${verb} ${resource}`);
  }
  const refusal = lacking.includes("create jobs") ? null : await refusalOf(namespace, trial, cluster);
  return {
    namespace,
    lacking,
    refusal,
    hasQueue: queue === undefined ? null : await isQueueThere({ namespace, queue }, cluster),
  };
}

async function mayI(
  resourceAttributes: { verb: string; group: string; resource: string; namespace: string },
  cluster: Cluster,
): Promise<boolean> {
  const body = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes } };
  const answer = await cluster.ask({
    what: "its rights",
    method: "POST",
    path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    body,
  });
  return (answer.body as { status?: { allowed?: boolean } } | null)?.status?.allowed === true;
}

async function refusalOf(namespace: string, trial: V1Job, cluster: Cluster): Promise<string | null> {
  const path = `/apis/batch/v1/namespaces/${namespace}/jobs`;
  const query = { dryRun: "All", fieldValidation: "Strict" };
  const { status, body } = await cluster.ask({ what: "a trainer's Job", method: "POST", path, query, body: trial });
  // A Job of that name proves the same.
  if (status < 300 || status === 409) return null;
  return `${status}: ${(body as { message?: string } | null)?.message ?? "no reason given"}`;
}

import { expect, test } from "vitest";
import type { Cluster, ClusterRequest } from "../../src/cluster.ts";
import { nightshiftError } from "../../src/errors.ts";
import { isQueueThere, readQueueWord } from "../../src/training/kubernetes/queue.ts";

const PLACE = { namespace: "nights", jobUid: "uid-1" };
const condition = (type: string, status: string, reason: string, message = "") => ({ type, status, reason, message });
const workload = (...conditions: object[]) => ({ items: [{ metadata: { name: "job-a" }, status: { conditions } }] });

/** An API server that answers each version's path from a table; what is not in it is a 404. Keeps what it was asked. */
function clusterOf(answers: Partial<Record<"v1beta1" | "v1beta2", { status: number; body?: unknown } | Error>>) {
  const asked: ClusterRequest[] = [];
  const cluster: Cluster = {
    namespace: "nights",
    ask(request) {
      asked.push(request);
      const version = request.path.split("/")[3] as keyof typeof answers;
      const answer = answers[version] ?? { status: 404 };
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve({ body: null, ...answer });
    },
    watch: () => Promise.resolve(),
  };
  return { cluster, asked };
}

test("the Workload of the Job is asked for by the Job's uid", async () => {
  const { cluster, asked } = clusterOf({ v1beta2: { status: 200, body: workload() } });
  await readQueueWord(PLACE, cluster, {});
  expect(asked).toMatchObject([
    { path: "/apis/kueue.x-k8s.io/v1beta2/namespaces/nights/workloads", query: { labelSelector: "kueue.x-k8s.io/job-uid=uid-1" } },
  ]);
});

test.each([
  [
    "it waits for quota",
    workload(condition("QuotaReserved", "False", "WaitingForQuota", "1 more needed")),
    "WaitingForQuota: 1 more needed",
  ],
  [
    "quota is reserved, a check is missing",
    workload(
      condition("QuotaReserved", "True", "QuotaReserved"),
      condition("Admitted", "False", "UnsatisfiedAdmissionChecks", "dws: Pending"),
    ),
    "UnsatisfiedAdmissionChecks: dws: Pending",
  ],
  [
    "it was preempted",
    workload(
      condition("Evicted", "True", "Preempted", "to make room"),
      condition("Admitted", "False", "NoReservation", "no reservation"),
      condition("QuotaReserved", "False", "Pending", "to make room"),
    ),
    "Pending: to make room",
  ],
  ["it is admitted", workload(condition("QuotaReserved", "True", "QuotaReserved"), condition("Admitted", "True", "Admitted")), null],
  ["it was not looked at yet", { items: [{ metadata: { name: "job-a" } }] }, null],
  ["there is none yet", { items: [] }, null],
  ["the answer is no list", { kind: "Status" }, null],
])("%s", async (_, body, word) => {
  expect(await readQueueWord(PLACE, clusterOf({ v1beta2: { status: 200, body } }).cluster, {})).toBe(word);
});

test("a Kueue of before v1beta2 is asked by the version that it serves; one that may not be asked, or does not answer, explains nothing", async () => {
  const body = workload(condition("QuotaReserved", "False", "Pending", "no quota"));
  expect(await readQueueWord(PLACE, clusterOf({ v1beta1: { status: 200, body } }).cluster, {})).toBe("Pending: no quota");
  expect(await readQueueWord(PLACE, clusterOf({}).cluster, {})).toBeNull();
  const forbidden = clusterOf({ v1beta2: { status: 403 } });
  expect(await readQueueWord(PLACE, forbidden.cluster, {})).toBeNull();
  expect(forbidden.asked).toHaveLength(1);
  const down = nightshiftError("cluster_unavailable", { what: "the workload", problem: "conversion webhook" });
  expect(await readQueueWord(PLACE, clusterOf({ v1beta2: down }).cluster, {})).toBeNull();
});

test("a queue is there in either version, is not there in neither, and is unknown where it may not be looked at", async () => {
  const isThere = (answers: Parameters<typeof clusterOf>[0]) =>
    isQueueThere({ namespace: "nights", queue: "gpus" }, clusterOf(answers).cluster);
  expect(await isThere({ v1beta2: { status: 200 } })).toBe(true);
  expect(await isThere({ v1beta1: { status: 200 } })).toBe(true);
  expect(await isThere({})).toBe(false);
  expect(await isThere({ v1beta2: { status: 403 } })).toBeNull();
});

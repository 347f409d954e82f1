import { expect } from "vitest";
import { mostTrainersOfOneRun } from "../kubernetes/trainers.ts";
import { createAttestationStore } from "../../../src/serving/attestation-store.ts";
import type { Database } from "../../../src/store/database.ts";
import type { Cluster } from "../kubernetes/cluster.ts";
import { RUN_LABEL } from "../../../src/training/job.ts";
import type { ShopRelease } from "./shop-release.ts";
import type { Call } from "./witness.ts";

/** Of all that the agent was answered so far: each call had an answer, by the adapter that the gateway names, which a replica had proven before. */
export async function expectServedRightly({ witness, database, names }: ShopRelease): Promise<void> {
  const { calls } = witness;
  expect(calls.length).toBeGreaterThan(20);
  expect(calls.filter(({ status }) => status !== 200)).toEqual([]);
  expect(calls.filter(({ digest, model }) => digest === null || names.get(digest) !== model)).toEqual([]);
  expect(await byUnattested(calls, database)).toEqual([]);
}

/** Answers by an adapter that no replica had proven active before. There is one replica. */
async function byUnattested(calls: readonly Call[], database: Database): Promise<Call[]> {
  const adapters = await database.kysely.selectFrom("adapters").select("digest").execute();
  const attestations = createAttestationStore(database);
  const found = adapters.map(async ({ digest }) => {
    const proofs = (await attestations.list(digest)).filter(({ status }) => status === "attested");
    const provenMs = Math.min(...proofs.map(({ atMs }) => atMs));
    return calls.filter((call) => call.digest === digest && call.answeredAtMs < provenMs);
  });
  return (await Promise.all(found)).flat();
}

/** How many of the agent's calls this adapter has answered. */
export function answersBy({ witness }: ShopRelease, digest: string): number {
  return witness.calls.filter((call) => call.digest === digest).length;
}

/** By the API server's own record: the Job is gone when its run has ended. */
export function expectTrainers(cluster: Cluster, runId: string, count: number): void {
  const audit = cluster.audit();
  const created = audit.filter(
    ({ verb, objectRef }) => verb === "create" && objectRef?.resource === "pods" && objectRef.subresource === undefined,
  );
  const labels = created.map(
    ({ responseObject }) => (responseObject?.["metadata"] as { labels?: Record<string, string> } | undefined)?.labels,
  );
  expect(labels.filter((one) => one?.[RUN_LABEL] === runId)).toHaveLength(count);
  expect(mostTrainersOfOneRun(audit)).toBe(1);
}

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { V1Job, V1Lease, V1Pod } from "@kubernetes/client-node";
import { expect } from "vitest";
import type { ExperimentView } from "../../../deploy/quickstart/control.ts";
import type { Progress } from "../../../deploy/quickstart/report.ts";
import { RUN_LABEL, jobName } from "../../../src/training/job.ts";
import { until } from "../../e2e/processes.ts";
import { podOf } from "../kubernetes/lease-holder.ts";
import { NAMESPACE, RELEASE, type ShopRelease } from "./shop-release.ts";

const LIMIT_MS = 300_000;
const CORE = `/api/v1/namespaces/${NAMESPACE}`;

/** In the night that begins next: its trainer is evicted after the first update, and the API server killed after the fourth. */
export async function disturbNight(release: ShopRelease, progress: Progress): Promise<void> {
  const before = (await release.control.status()).run?.id;
  const runId = await until("a night", LIMIT_MS, async () => {
    const { run } = await release.control.status();
    return run === null || run.id === before ? null : run.id;
  });
  await iterationTrained(release, runId, 1);
  const evicted = await evictTrainer(release, runId);
  progress.say(
    `the trainer was evicted; another went on from step ${evicted.resumedFrom} of ${evicted.steps}, and the Job counts no failure`,
  );
  await iterationTrained(release, runId, 4);
  await release.cluster.restartApiServer(2_000);
  progress.say("the API server was killed and is back after 2 s");
}

/** In a canary that has begun: whoever leads the control service is killed, and another leads. */
export async function killLeader(release: ShopRelease, experimentId: string, progress: Progress): Promise<void> {
  await until("the canary has scored some", LIMIT_MS, async () => {
    const { experiment } = await release.control.status();
    return experiment !== null && isMidRamp(experiment, experimentId) ? true : null;
  });
  const killed = await leaseOf(release);
  release.cluster.node.killNow(NAMESPACE, podOf(killed.holder), "serve");
  const killedMs = performance.now();
  const next = await until("another leads", 60_000, async () => {
    const now = await leaseOf(release);
    return now.term > killed.term ? now : null;
  });
  progress.say(`the leader ${killed.holder} was killed; ${next.holder} leads after ${Math.round(performance.now() - killedMs)} ms`);
}

function isMidRamp({ id, state, weight, numbers }: ExperimentView, experimentId: string): boolean {
  return id === experimentId && state === "canary" && weight > 0 && Number(numbers?.["units"] ?? 0) > 0;
}

async function iterationTrained({ control }: ShopRelease, runId: string, iteration: number): Promise<void> {
  await until(`iteration ${iteration} is trained`, LIMIT_MS, async () => {
    const { steps } = await control.run(runId);
    return steps.some(({ step, finishedAtMs }) => step === `train-${iteration}` && finishedAtMs !== null) ? true : null;
  });
}

/** As a drain does it. Resolves when another pod trains on from the checkpoint that the first one left. */
async function evictTrainer(release: ShopRelease, runId: string): Promise<{ resumedFrom: number; steps: number }> {
  const { cluster } = release;
  const first = await until("a trainer runs", LIMIT_MS, () => runningTrainer(release, runId));
  const seen: V1Pod[] = [];
  const told = cluster.api.follow<V1Pod>(`${CORE}/pods`, (_, pod) => {
    if (pod?.metadata?.name === first) seen.push(pod);
  });
  await told.isListed;
  await cluster.evict(NAMESPACE, first);
  await until("another trainer runs", LIMIT_MS, async () => {
    const name = await runningTrainer(release, runId);
    return name !== null && name !== first ? name : null;
  });
  told.close();
  const { status: last } = seen.at(-1) ?? {};
  expect(last?.conditions).toContainEqual(expect.objectContaining({ type: "DisruptionTarget", status: "True" }));
  const status = await until("the other trainer has found the checkpoint", LIMIT_MS, () => trainerStatus(release, runId));
  const job = await cluster.api.get<V1Job>(`/apis/batch/v1/namespaces/${NAMESPACE}/jobs/${jobName(runId)}`);
  // What is ignored by the Job's policy for failed pods is not counted against its backoffLimit.
  expect(job.status?.failed ?? 0).toBe(0);
  return { resumedFrom: status.resumed_from, steps: status.step };
}

async function runningTrainer({ cluster }: ShopRelease, runId: string): Promise<string | null> {
  const pods = await cluster.api.get<{ items: V1Pod[] }>(`${CORE}/pods?labelSelector=${encodeURIComponent(`${RUN_LABEL}=${runId}`)}`);
  const running = pods.items.find(({ status, metadata }) => status?.phase === "Running" && metadata?.deletionTimestamp === undefined);
  return running?.metadata?.name ?? null;
}

/** Null: the trainer of now has not gone on from a checkpoint. */
function trainerStatus({ cluster }: ShopRelease, runId: string): { resumed_from: number; step: number } | null {
  const file = join(cluster.volumes.directoryOf(NAMESPACE, "nightshift-data"), "runs", runId, "status.json");
  if (!existsSync(file)) return null;
  const status = JSON.parse(readFileSync(file, "utf8")) as { resumed_from: number | null; step: number };
  return status.resumed_from === null ? null : { ...status, resumed_from: status.resumed_from };
}

async function leaseOf({ cluster }: ShopRelease): Promise<{ holder: string; term: number }> {
  const { spec } = await cluster.api.get<V1Lease>(`/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/${RELEASE}-serve`);
  return { holder: spec?.holderIdentity ?? "", term: spec?.leaseTransitions ?? 0 };
}

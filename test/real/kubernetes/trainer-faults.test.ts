import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { openCluster } from "../../../src/cluster.ts";
import type { Logger } from "../../../src/log.ts";
import type { JobRunner, JobStatus, TrainerJob } from "../../../src/training/job-runner.ts";
import { job as jobOf, jobName } from "../../../src/training/job.ts";
import { examineCluster } from "../../../src/training/kubernetes/examine.ts";
import { awaitAdapter } from "../../../src/training/trainer-output.ts";
import { silentLog } from "../../../src/log.ts";
import { until } from "../../e2e/processes.ts";
import { kubernetesConfig, LEAST } from "../../training/job-golden.ts";
import type { ScriptedRun } from "../../training/scripted-trainer.ts";
import { mostTrainersOfOneRun, NAMESPACE, startTrainers, type Trainers } from "./trainers.ts";

const LIMIT_MS = 60_000;

let trainers: Trainers;
let runners: JobRunner[] = [];
beforeAll(async () => {
  trainers = await startTrainers();
});
afterEach(async () => {
  for (const runner of runners) await runner.close();
  runners = [];
});
afterAll(() => trainers?.close());

/** A trainer that does as planned, by a runner with changes to its config. */
async function begin(
  plan: string,
  changes: object = {},
  log: Logger = silentLog(),
): Promise<{ job: TrainerJob; run: ScriptedRun; runner: JobRunner }> {
  const runId = randomUUID();
  const run = trainers.run(runId, plan);
  const runner = await trainers.runner(changes, log);
  runners.push(runner);
  const job = { runId, agent: "support", runDirectory: run.runDirectory };
  await runner.start(job);
  return { job, run, runner };
}

/** On the way there it is never anything of `not`. */
async function reach(
  runner: JobRunner,
  runId: string,
  wanted: JobStatus["status"],
  not: readonly JobStatus["status"][] = [],
): Promise<JobStatus> {
  const seen: JobStatus[] = [];
  const reached = await until(`run ${runId} is ${wanted}`, LIMIT_MS, async () => {
    const status = await runner.status(runId);
    seen.push(status);
    return status.status === wanted ? status : null;
  });
  expect(seen.filter(({ status }) => not.includes(status))).toEqual([]);
  return reached;
}

function starts(run: ScriptedRun, count: number): Promise<true> {
  return until(`${count} starts`, LIMIT_MS, () => (run.log().filter((line) => line === "start").length >= count ? true : null));
}

async function podOf(runId: string, phase: string): Promise<string> {
  return until(
    `a pod of ${runId} is ${phase}`,
    LIMIT_MS,
    async () => (await trainers.pods(runId)).find((pod) => pod.status?.phase === phase)?.metadata.name ?? null,
  );
}

async function failuresOf(runId: string): Promise<number> {
  const job = await trainers.cluster.api.get<{ status?: { failed?: number } }>(
    `/apis/batch/v1/namespaces/${NAMESPACE}/jobs/${jobName(runId)}`,
  );
  return job.status?.failed ?? 0;
}

test("an evicted trainer may checkpoint, goes on in another pod, and nothing is counted", { timeout: 4 * LIMIT_MS }, async () => {
  // One counted failure would end the Job.
  const { job, run, runner } = await begin("wait", { backoffLimit: 0 });
  await starts(run, 1);
  await trainers.cluster.evict(NAMESPACE, await podOf(job.runId, "Running"));
  await starts(run, 2);
  await reach(runner, job.runId, "running", ["failed", "finished"]);
  expect(await failuresOf(job.runId)).toBe(0);
  run.go();
  await reach(runner, job.runId, "finished", ["failed"]);
  expect(run.log()).toEqual(["start", "term", "end", "start", "end"]);
});

test("a trainer that needs more memory than it may is named so", { timeout: 4 * LIMIT_MS }, async () => {
  const { job, run, runner } = await begin("wait", { backoffLimit: 0 });
  await starts(run, 1);
  trainers.cluster.node.killForMemory(NAMESPACE, await podOf(job.runId, "Running"), "trainer");
  expect(await reach(runner, job.runId, "failed")).toEqual({
    status: "failed",
    exitCode: 137,
    retryable: false,
    detail: expect.stringContaining("needed more memory than it may (OOMKilled): raise resources.limits.memory"),
  });
});

test("crashes end it after as many as it may have, and a bad batch at once", { timeout: 4 * LIMIT_MS }, async () => {
  const crashing = await begin("1", { backoffLimit: 1 });
  expect(await reach(crashing.runner, crashing.job.runId, "failed")).toMatchObject({
    exitCode: 1,
    retryable: false,
    detail: expect.stringContaining("BackoffLimitExceeded"),
  });
  expect(crashing.run.log()).toEqual(["start", "end", "start", "end"]);
  const bad = await begin("65", { backoffLimit: 1 });
  expect(await reach(bad.runner, bad.job.runId, "failed")).toMatchObject({
    exitCode: 65,
    retryable: false,
    detail: expect.stringContaining("PodFailurePolicy"),
  });
  expect(bad.run.log()).toEqual(["start", "end"]);
});

test("a trainer for which there is no GPU waits, and then there was no capacity", { timeout: 4 * LIMIT_MS }, async () => {
  const resources = { requests: {}, limits: { "nvidia.com/gpu": 8 } };
  const { job, run, runner } = await begin("wait", { resources, unschedulableAfterMs: 6_000 });
  const waiting = await reach(runner, job.runId, "waiting", ["failed"]);
  expect(waiting).toMatchObject({ status: "waiting" });
  const ended = await reach(runner, job.runId, "no_capacity", ["failed", "running"]);
  expect(ended).toMatchObject({ detail: expect.stringContaining("Insufficient nvidia.com/gpu") });
  const options = { ...job, iteration: 1, heartbeatTimeoutMs: LIMIT_MS, signal: new AbortController().signal };
  const waited = awaitAdapter(options, { jobRunner: runner, log: silentLog(), monotonicMs: () => performance.now() });
  await expect(waited).rejects.toMatchObject({
    code: "trainer_no_capacity",
    message: expect.stringContaining("Insufficient nvidia.com/gpu"),
  });
  await runner.cancel(job.runId);
  expect([await trainers.pods(job.runId), run.log()]).toEqual([[], []]);
});

test("what a trainer waits for besides a place is told, and is not a question of capacity", { timeout: 4 * LIMIT_MS }, async () => {
  const { job, runner } = await begin("wait", { image: "registry.test/no-such-image:1", unschedulableAfterMs: 1_000 });
  const told = await until("the image is missed", LIMIT_MS, async () => {
    const status = await runner.status(job.runId);
    return status.status !== "waiting" || /Image/.test(status.reason) ? status : null;
  });
  expect(told).toMatchObject({ status: "waiting", detail: expect.stringContaining("container trainer waits") });
  await runner.cancel(job.runId);
});

test("a stuck trainer is told of once and left alone", { timeout: 4 * LIMIT_MS }, async () => {
  const told: unknown[] = [];
  const log = { ...silentLog(), error: (...line: unknown[]) => void told.push(line[1]) } as unknown as Logger;
  const { job, run, runner } = await begin("stuck");
  await starts(run, 1);
  const stop = new AbortController();
  const options = { ...job, iteration: 1, heartbeatTimeoutMs: 1_000, signal: stop.signal };
  const silent = (silentMs: number): Promise<void> => Promise.resolve(void told.push(silentMs > 1_000));
  const deps = { jobRunner: runner, log, monotonicMs: () => performance.now(), silent };
  const waited = awaitAdapter(options, deps).catch((error: unknown) => error);
  await until("it is told of", LIMIT_MS, () => (told.length > 0 ? true : null));
  // Twice the time after which it was told of.
  const beganMs = performance.now();
  await until("time has passed", LIMIT_MS, () => (performance.now() - beganMs > 2_000 ? true : null));
  stop.abort();
  await waited;
  expect(told).toEqual(["trainer silent: nothing is done about it, look at its pod", true]);
  expect([run.log(), (await trainers.pods(job.runId)).length]).toEqual([["start"], 1]);
  // It does not hear SIGTERM either.
  await runner.cancel(job.runId);
  expect(run.log()).toEqual(["start", "term"]);
});

test(
  "an API server that is restarted or hangs is not asked for a failure; its watches go on, after 410 too",
  { timeout: 6 * LIMIT_MS },
  async () => {
    const { job, run, runner } = await begin("wait");
    await starts(run, 1);
    await reach(runner, job.runId, "running");
    const resume = trainers.cluster.pauseApiServer();
    await reach(runner, job.runId, "unknown", ["failed", "waiting"]);
    resume();
    await reach(runner, job.runId, "running", ["failed", "waiting"]);
    const restarted = trainers.cluster.restartApiServer(2_000);
    await reach(runner, job.runId, "unknown", ["failed", "waiting"]);
    await restarted;
    await trainers.cluster.compactHistory();
    await trainers.cluster.restartApiServer();
    await reach(runner, job.runId, "running", ["failed", "waiting"]);
    run.go();
    await reach(runner, job.runId, "finished", ["failed"]);
    expect(run.log()).toEqual(["start", "end"]);
  },
);

test("a Job that somebody deleted is started again by whoever waits for it", { timeout: 4 * LIMIT_MS }, async () => {
  const { job, run, runner } = await begin("wait publish");
  await starts(run, 1);
  await trainers.cluster.kubectl(["delete", "job", jobName(job.runId), "-n", NAMESPACE, "--wait=false"]);
  const options = { ...job, iteration: 1, heartbeatTimeoutMs: LIMIT_MS, signal: new AbortController().signal };
  await awaitAdapter(options, { jobRunner: runner, log: silentLog(), monotonicMs: () => performance.now() });
  expect(run.log().slice(0, 4)).toEqual(["start", "term", "end", "start"]);
});

test("what the API server refuses is told with its reason", { timeout: LIMIT_MS }, async () => {
  const elsewhere = begin("wait", { namespace: "kube-system" });
  await expect(elsewhere).rejects.toMatchObject({ code: "cluster_refused", message: expect.stringContaining("403") });
  const misspelt = begin("wait", { jobTemplate: { spec: { template: { spec: { nodeSelektor: { a: "b" } } } } } });
  await expect(misspelt).rejects.toMatchObject({
    code: "trainer_job_refused",
    message: expect.stringMatching(/400: .*unknown field "spec.template.spec.nodeSelektor"/),
  });
});

test("doctor's questions: rights, a Job on trial, the queue", { timeout: LIMIT_MS }, async () => {
  const cluster = await openCluster();
  const trial = jobOf({ runId: "doctor", agent: "doctor" }, kubernetesConfig(LEAST));
  expect(await examineCluster({ namespace: NAMESPACE, trial, queue: "nights" }, cluster)).toMatchObject({ lacking: [], refusal: null });
  const { lacking } = await examineCluster({ namespace: "default", trial, queue: undefined }, cluster);
  expect(lacking).toEqual([
    ...["create", "get", "delete", "list", "watch"].map((verb) => `${verb} jobs`),
    ...["get", "list", "watch"].map((verb) => `${verb} pods`),
  ]);
  const bad = structuredClone(trial);
  Object.assign(bad.spec ?? {}, { backoffLimit: -1 });
  const { refusal } = await examineCluster({ namespace: NAMESPACE, trial: bad, queue: undefined }, cluster);
  expect(refusal).toContain("spec.backoffLimit");
});

test("by the audit log no run ever had two trainers, whatever happened to them", () => {
  expect(mostTrainersOfOneRun(trainers.cluster.audit())).toBe(1);
});

import { randomUUID } from "node:crypto";
import type { V1Job } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { openCluster } from "../../../src/cluster.ts";
import { silentLog } from "../../../src/log.ts";
import { job as jobOf, jobName } from "../../../src/training/job.ts";
import type { JobRunner, JobStatus, TrainerJob } from "../../../src/training/job-runner.ts";
import { examineCluster } from "../../../src/training/kubernetes/examine.ts";
import { awaitAdapter } from "../../../src/training/trainer-output.ts";
import { until } from "../../e2e/processes.ts";
import { kubernetesConfig, LEAST } from "../../training/job-golden.ts";
import type { ScriptedRun } from "../../training/scripted-trainer.ts";
import { startQueue, type Queue } from "./queue.ts";
import { mostTrainersOfOneRun, NAMESPACE, startTrainers, type Trainers } from "./trainers.ts";

const LIMIT_MS = 60_000;
const QUEUE = "nights";
const NO_QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor spot, 1 more needed";

let trainers: Trainers;
let queue: Queue;
let runners: JobRunner[] = [];
beforeAll(async () => {
  trainers = await startTrainers();
  queue = await startQueue(trainers.cluster, { namespace: NAMESPACE, name: QUEUE });
});
afterEach(async () => {
  for (const runner of runners) await runner.close();
  runners = [];
});
afterAll(async () => {
  await queue?.close();
  await trainers?.close();
});

async function begin(plan: string, changes: object = {}): Promise<{ job: TrainerJob; run: ScriptedRun; runner: JobRunner }> {
  const runId = randomUUID();
  const run = trainers.run(runId, plan);
  const runner = await trainers.runner({ kueueQueue: QUEUE, ...changes });
  runners.push(runner);
  const job = { runId, agent: "support", runDirectory: run.runDirectory };
  await runner.start(job);
  return { job, run, runner };
}

/** On the way there it never failed. */
function reach(runner: JobRunner, runId: string, wanted: (status: JobStatus) => boolean): Promise<JobStatus> {
  return until(`run ${runId}`, LIMIT_MS, async () => {
    const status = await runner.status(runId);
    if (status.status === "failed" && !wanted(status)) throw new Error(JSON.stringify(status));
    return wanted(status) ? status : null;
  });
}

const says = (text: string) => (status: JobStatus) => status.status === "waiting" && status.detail.includes(text);
const is = (wanted: JobStatus["status"]) => (status: JobStatus) => status.status === wanted;
const logged = (run: ScriptedRun, count: number): Promise<true> =>
  until(`${count} lines of the trainer's`, LIMIT_MS, () => (run.log().length >= count ? true : null));
const jobObject = (runId: string): Promise<V1Job> =>
  trainers.cluster.api.get<V1Job>(`/apis/batch/v1/namespaces/${NAMESPACE}/jobs/${jobName(runId)}`);

test(
  "a trainer in a queue: held back with the queue's reason, run once admitted, preempted with a checkpoint, and run again",
  { timeout: 5 * LIMIT_MS },
  async () => {
    // One counted failure would end the Job.
    const { job, run, runner } = await begin("wait", { backoffLimit: 0 });
    const name = jobName(job.runId);
    const created = await jobObject(job.runId);
    expect(created).toMatchObject({ metadata: { labels: { "kueue.x-k8s.io/queue-name": QUEUE } }, spec: { suspend: true } });
    await reach(runner, job.runId, says("a queue has not admitted it"));
    await queue.hold(name, "WaitingForQuota", NO_QUOTA);
    await reach(runner, job.runId, says(`(WaitingForQuota: ${NO_QUOTA})`));
    expect([await trainers.pods(job.runId), run.log()]).toEqual([[], []]);

    await queue.admit(name);
    await logged(run, 1);
    await reach(runner, job.runId, is("running"));
    await queue.preempt(name, "Preempted to accommodate a workload of higher priority");
    await logged(run, 3);
    await reach(runner, job.runId, says("Preempted to accommodate"));
    expect(run.log()).toEqual(["start", "term", "end"]);

    await queue.admit(name);
    await logged(run, 4);
    await reach(runner, job.runId, is("running"));
    expect((await jobObject(job.runId)).status?.failed ?? 0).toBe(0);
    run.go();
    await reach(runner, job.runId, is("finished"));
    expect(run.log()).toEqual(["start", "term", "end", "start", "end"]);
  },
);

test(
  "without quota for long enough there was no capacity, and the night says so in the queue's words",
  { timeout: 4 * LIMIT_MS },
  async () => {
    const { job, run, runner } = await begin("wait", { unschedulableAfterMs: 6_000 });
    await queue.hold(jobName(job.runId), "WaitingForQuota", NO_QUOTA);
    const options = { ...job, iteration: 1, heartbeatTimeoutMs: LIMIT_MS, signal: new AbortController().signal };
    const waited = awaitAdapter(options, { jobRunner: runner, log: silentLog(), monotonicMs: () => performance.now() });
    await expect(waited).rejects.toMatchObject({ code: "trainer_no_capacity", message: expect.stringContaining(NO_QUOTA) });
    await runner.cancel(job.runId);
    expect([await trainers.pods(job.runId), run.log()]).toEqual([[], []]);
  },
);

test("a Job that names no queue is none of Kueue's", { timeout: 2 * LIMIT_MS }, async () => {
  const { job, run, runner } = await begin("0", { kueueQueue: undefined });
  await reach(runner, job.runId, is("finished"));
  expect(run.log()).toEqual(["start", "end"]);
});

test("doctor's question whether the queue is there", { timeout: LIMIT_MS }, async () => {
  const cluster = await openCluster();
  const trial = jobOf({ runId: "doctor", agent: "doctor" }, kubernetesConfig({ ...LEAST, kueueQueue: QUEUE }));
  const examine = (name: string) => examineCluster({ namespace: NAMESPACE, trial, queue: name }, cluster);
  expect(await examine(QUEUE)).toMatchObject({ lacking: [], refusal: null, hasQueue: true });
  expect(await examine("days")).toMatchObject({ hasQueue: false });
});

test("by the audit log no run ever had two trainers, preempted or not", () => {
  expect(mostTrainersOfOneRun(trainers.cluster.audit())).toBe(1);
});

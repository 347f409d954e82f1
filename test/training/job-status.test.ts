import { describe, expect, test } from "vitest";
import { jobStatus, podEnds, type JobObject, type PodObject } from "../../src/training/job-status.ts";

const AT = "2026-11-22T02:00:00Z";
const HOUR_MS = 3_600_000;
const CREATED_MS = Date.parse(AT);

const jobOf = (status: JobObject["status"] = {}, metadata: Partial<JobObject["metadata"]> = {}): JobObject => ({
  metadata: { name: "nightshift-run", uid: "1", creationTimestamp: AT, ...metadata },
  status,
});
const podOf = (status: NonNullable<PodObject["status"]>, name = "pod-a", more: Partial<PodObject["metadata"]> = {}): PodObject => ({
  metadata: { name, creationTimestamp: AT, ...more },
  status,
});
const condition = (type: string, more: object = {}) => ({ type, status: "True", lastTransitionTime: AT, ...more });
const ended = (exitCode: number, more: object = {}, name = "trainer") => ({
  name,
  state: { terminated: { exitCode, finishedAt: AT, ...more } },
});
const scheduled = condition("PodScheduled");

/** An hour after everything, with two hours of patience. */
const told = (job: JobObject | null, pods: PodObject[] = [], hours = 1) =>
  jobStatus({ job, pods }, { nowMs: CREATED_MS + hours * HOUR_MS, unschedulableAfterMs: 2 * HOUR_MS });

describe("waiting, and no capacity after two hours of it", () => {
  const unschedulable = podOf({
    phase: "Pending",
    conditions: [
      condition("PodScheduled", {
        status: "False",
        reason: "Unschedulable",
        message: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
      }),
    ],
  });
  test.each([
    ["no node takes the pod", jobOf(), [unschedulable], "Unschedulable", "3 Insufficient nvidia.com/gpu"],
    ["no scheduler", jobOf(), [podOf({ phase: "Pending" })], "Unscheduled", "no scheduler"],
    ["no pod, as under a quota", jobOf(), [], "NoPod", "quota"],
    ["a queue holds it back", jobOf({ conditions: [condition("Suspended")] }), [], "Suspended", "a queue has not admitted it"],
  ])("%s", (_, job, pods, reason, detail) => {
    expect(told(job, pods)).toEqual({ status: "waiting", reason, detail: expect.stringContaining(detail) });
    expect(told(job, pods, 1.999)).toMatchObject({ status: "waiting" });
    expect(told(job, pods, 2)).toEqual({ status: "no_capacity", waitedMs: 2 * HOUR_MS, detail: expect.stringContaining(detail) });
  });

  test("what the queue says of it is told", () => {
    const job = jobOf({ conditions: [condition("Suspended")] });
    const queue = "WaitingForQuota: 1 more nvidia.com/gpu needed";
    const status = jobStatus({ job, pods: [], queue }, { nowMs: CREATED_MS, unschedulableAfterMs: HOUR_MS });
    expect(status).toMatchObject({ detail: `its Job is suspended: a queue has not admitted it (${queue})` });
  });

  test.each([
    [
      "an image that does not come",
      podOf({
        phase: "Pending",
        conditions: [scheduled],
        containerStatuses: [{ name: "trainer", state: { waiting: { reason: "ImagePullBackOff", message: "no such image" } } }],
      }),
      "ImagePullBackOff",
      "container trainer waits, ImagePullBackOff (no such image)",
    ],
    [
      "a Secret that is not there",
      podOf({
        phase: "Pending",
        conditions: [scheduled],
        initContainerStatuses: [
          { name: "artifact-sync", state: { waiting: { reason: "CreateContainerConfigError", message: 'secret "x" not found' } } },
        ],
      }),
      "CreateContainerConfigError",
      'secret "x" not found',
    ],
    ["a node that begins", podOf({ phase: "Pending", conditions: [scheduled] }), "Starting", "is being started"],
    [
      "a pod that still ends",
      podOf({ phase: "Running", conditions: [scheduled] }, "pod-a", { deletionTimestamp: AT }),
      "Terminating",
      "pod-a is still ending",
    ],
  ])("%s is no question of capacity, however long it lasts", (_, pod, reason, detail) => {
    expect(told(jobOf(), [pod], 9)).toEqual({ status: "waiting", reason, detail: expect.stringContaining(detail) });
  });

  test("after an eviction the wait counts from there, not from the Job's begin", () => {
    const evicted = podOf({
      phase: "Failed",
      conditions: [condition("DisruptionTarget", { reason: "EvictionByEvictionAPI" })],
      containerStatuses: [ended(143, { finishedAt: "2026-11-22T05:00:00Z" })],
    });
    expect(told(jobOf({ startTime: AT }), [evicted], 4)).toMatchObject({ status: "waiting", reason: "NoPod" });
    expect(told(jobOf({ startTime: AT }), [evicted], 5)).toMatchObject({ status: "no_capacity", waitedMs: 2 * HOUR_MS });
  });
});

describe("what a Job has come to", () => {
  test.each([
    ["it runs", jobOf({ startTime: AT }), [podOf({ phase: "Running", conditions: [scheduled] })], { status: "running" }],
    ["it is done", jobOf({ conditions: [condition("SuccessCriteriaMet"), condition("Complete")] }), [], { status: "finished" }],
    ["it is gone", null, [], { status: "failed", exitCode: null, retryable: true, detail: expect.stringContaining("its Job is gone") }],
    [
      "somebody deletes it",
      jobOf({}, { deletionTimestamp: AT }),
      [podOf({ phase: "Running" })],
      { status: "waiting", reason: "Deleted", detail: expect.any(String) },
    ],
    [
      "a bad batch",
      jobOf({
        conditions: [
          condition("Failed", {
            reason: "PodFailurePolicy",
            message: "Container trainer for pod n/pod-a failed with exit code 65 matching FailJob rule at index 1",
          }),
        ],
      }),
      [
        podOf({
          phase: "Failed",
          containerStatuses: [ended(65, { reason: "Error", message: "epoch\nerror: batch-1/groups.jsonl.gz line 3\n" })],
        }),
      ],
      {
        status: "failed",
        exitCode: 65,
        retryable: false,
        detail:
          "PodFailurePolicy: Container trainer for pod n/pod-a failed with exit code 65 matching FailJob rule at index 1; pod pod-a ended with exit code 65 (Error): error: batch-1/groups.jsonl.gz line 3",
      },
    ],
    [
      "a bad config, of which the pod is gone",
      jobOf({
        conditions: [
          condition("Failed", {
            reason: "PodFailurePolicy",
            message: "Container trainer for pod n/p failed with exit code 64 matching FailJob rule at index 1",
          }),
        ],
      }),
      [],
      { status: "failed", exitCode: 64, retryable: false, detail: expect.stringContaining("exit code 64") },
    ],
    [
      "too little memory, again and again",
      jobOf({
        conditions: [condition("Failed", { reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit" })],
      }),
      [podOf({ phase: "Failed", containerStatuses: [ended(137, { reason: "OOMKilled" })] })],
      { status: "failed", exitCode: 137, retryable: false, detail: expect.stringContaining("(OOMKilled): raise resources.limits.memory") },
    ],
    [
      "its deadline",
      jobOf({
        conditions: [condition("Failed", { reason: "DeadlineExceeded", message: "Job was active longer than specified deadline" })],
      }),
      [],
      { status: "failed", exitCode: null, retryable: false, detail: "DeadlineExceeded: Job was active longer than specified deadline" },
    ],
    [
      "its files could not be brought",
      jobOf({ conditions: [condition("Failed", { reason: "BackoffLimitExceeded", message: "limit" })] }),
      [
        podOf({
          phase: "Failed",
          initContainerStatuses: [ended(2, { reason: "Error", message: "no such bucket" }, "artifact-sync-prepare")],
        }),
      ],
      { status: "failed", exitCode: null, retryable: false, detail: expect.stringContaining("artifact-sync-prepare: no such bucket") },
    ],
  ])("%s", (_, job, pods, expected) => expect(told(job, pods, 1)).toEqual(expected));

  test("a crash is named before the eviction that followed it", () => {
    const crash = podOf({ phase: "Failed", containerStatuses: [ended(1, { reason: "Error", message: "boom" })] });
    const evicted = podOf(
      {
        phase: "Failed",
        conditions: [condition("DisruptionTarget", { reason: "DeletionByTaintManager" })],
        containerStatuses: [ended(143, { finishedAt: "2026-11-22T03:00:00Z" })],
      },
      "pod-b",
    );
    expect(podEnds([evicted, crash])).toMatchObject([
      { pod: "pod-a", exitCode: 1, isDisrupted: false, lastWords: "boom" },
      { pod: "pod-b", exitCode: 143, isDisrupted: true, reason: "DeletionByTaintManager" },
    ]);
    const failed = jobOf({ conditions: [condition("Failed", { reason: "BackoffLimitExceeded", message: "limit" })] });
    expect(told(failed, [evicted, crash])).toMatchObject({ exitCode: 1, detail: expect.stringContaining("boom") });
  });
});

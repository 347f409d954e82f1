import type { CoreV1EventList, V1Job, V1JobCondition, V1Pod, V1PodList } from "@kubernetes/client-node";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stubApi, type StubApi } from "../../cli/terminal.ts";
import { until } from "../../e2e/processes.ts";
import { renderedOf } from "../../helm/objects.ts";
import { startCluster, type Cluster } from "./cluster.ts";
import { productImages } from "./images.ts";
import { restrictedNamespace } from "./restricted.ts";

const NAMESPACE = "nights";
const LIMIT_MS = 90_000;
const CRON_JOB = "nightshift-run-support";

let cluster: Cluster;
let control: StubApi;
/** What the control service says to whoever asks for a night. */
const answers: Record<string, unknown> = {};

beforeAll(async () => {
  cluster = await startCluster({ images: productImages() });
  control = await stubApi(answers);
  const url = `http://${await cluster.expose(Number(new URL(control.url).port))}`;
  const metadata = (name: string): object => ({ metadata: { name, namespace: NAMESPACE } });
  await cluster.apply(
    restrictedNamespace(NAMESPACE),
    { apiVersion: "v1", kind: "ServiceAccount", ...metadata("nightshift-run") },
    { apiVersion: "v1", kind: "Secret", ...metadata("nightshift"), stringData: { "operator-token": "nightshift_operator_of_this_test" } },
    cronJob(url),
  );
});
afterAll(async () => {
  await control?.close();
  await cluster?.close();
});

/** The chart's, as committed, which asks the test. Its Jobs are made by hand: their schedule is not what is tested. */
function cronJob(url: string): object {
  const made = renderedOf("existing-vllm").find(({ kind, metadata }) => kind === "CronJob" && metadata.name === CRON_JOB);
  const text = JSON.stringify(made).replaceAll("http://nightshift-serve:4400", url);
  const { metadata, spec, ...rest } = JSON.parse(text) as { metadata: object; spec: object };
  return { ...rest, metadata: { ...metadata, namespace: NAMESPACE }, spec: { ...spec, suspend: true } };
}

const keys = (): unknown[] => control.requests.map(({ body }) => (body as { key?: unknown }).key);
const jobPath = (name: string): string => `/apis/batch/v1/namespaces/${NAMESPACE}/jobs/${name}`;

async function ask(name: string): Promise<void> {
  control.requests.length = 0;
  await cluster.kubectl(["create", "job", name, `--from=cronjob/${CRON_JOB}`, "--namespace", NAMESPACE]);
}

/** Waits for the Job's end. */
async function ended(name: string): Promise<{ uid: string; condition: V1JobCondition; pods: V1Pod[] }> {
  const { uid, condition } = await until(`job ${name} has ended`, LIMIT_MS, async () => {
    const { metadata, status } = await cluster.api.get<V1Job>(jobPath(name));
    const found = status?.conditions?.find(({ type, status: is }) => is === "True" && (type === "Complete" || type === "Failed"));
    return found === undefined ? null : { uid: metadata?.uid ?? "", condition: found };
  });
  const selector = encodeURIComponent(`batch.kubernetes.io/job-name=${name}`);
  const { items: pods } = await cluster.api.get<V1PodList>(`/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=${selector}`);
  return { uid, condition, pods };
}

test("a night that begins: the Job is complete, and asked under its own uid", { timeout: LIMIT_MS }, async () => {
  answers["POST /v1/runs"] = { httpStatus: 202, body: { runId: "r1", before: 0, isNew: true } };
  await ask("begins");
  const { uid, condition, pods } = await ended("begins");
  expect(condition.type).toBe("Complete");
  expect(pods).toHaveLength(1);
  expect(uid).toMatch(/^[0-9a-f-]{36}$/);
  expect(keys()).toEqual([uid]);
});

test("last night is in progress: nothing is wrong, nothing is tried again", { timeout: LIMIT_MS }, async () => {
  const error = { code: "run_in_progress", message: "agent support already has a run in progress: r1" };
  answers["POST /v1/runs"] = { httpStatus: 409, body: { error } };
  await ask("in-progress");
  const { condition, pods } = await ended("in-progress");
  expect(condition.type).toBe("Complete");
  expect(pods).toHaveLength(1);
  expect(keys()).toHaveLength(1);
});

test(
  "a night that is refused: the Job fails at the first try, and kubectl has the reason with its fix",
  { timeout: LIMIT_MS },
  async () => {
    const message = "no run for agent support: its judge agrees with people on 0.55 of pairs, below judge.minAgreement 0.7";
    answers["POST /v1/runs"] = { httpStatus: 422, body: { error: { code: "judge_below_agreement", message } } };
    await ask("refused");
    const { condition, pods } = await ended("refused");
    expect(condition).toMatchObject({
      type: "Failed",
      reason: "PodFailurePolicy",
      message: expect.stringContaining("exit code 3") as unknown,
    });
    expect(keys()).toHaveLength(1);
    expect(pods.map(({ status }) => status?.containerStatuses?.[0]?.state?.terminated)).toMatchObject([
      { exitCode: 3, message: expect.stringMatching(new RegExp(`${message}\\n {2}fix: Use a judge that agrees more`)) as unknown },
    ]);
    const listed = await cluster.kubectl(["get", "jobs", "refused", "--namespace", NAMESPACE, "--no-headers"]);
    expect(listed).toMatch(/^refused\s+Failed\s/);
    await until("an event of the Job says so", LIMIT_MS, async () => {
      const { items } = await cluster.api.get<CoreV1EventList>(`/api/v1/namespaces/${NAMESPACE}/events`);
      const told = items.find(({ type, involvedObject }) => type === "Warning" && involvedObject.kind === "Job");
      return told?.involvedObject.name === "refused" ? told : null;
    });
  },
);

test("a control service that is away is asked again, under the same key", { timeout: LIMIT_MS }, async () => {
  answers["POST /v1/runs"] = { httpStatus: 503, body: { error: { code: "store_unavailable", message: "the store does not answer" } } };
  await ask("away");
  await until("it was asked", LIMIT_MS, () => (control.requests.length > 0 ? true : null));
  answers["POST /v1/runs"] = { httpStatus: 202, body: { runId: "r2", before: 0, isNew: true } };
  const { uid, condition, pods } = await ended("away");
  expect(condition.type).toBe("Complete");
  expect(pods).toHaveLength(2);
  expect(keys()).toEqual([uid, uid]);
});

import { basename } from "node:path";
import { expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { job, jobName, RUN_LABEL } from "../../src/training/job.ts";
import { jobGolden, kubernetesConfig, LEAST, readGolden } from "./job-golden.ts";

const RUN = { runId: "0198c2f4-7b1e-7c3a-9d52-0a6f4e1b8c77", agent: "support" };

test.each(jobGolden().map(({ file, text }) => ({ name: basename(file.pathname), file, text })))(
  "$name is what it was (`npm run fixtures`)",
  ({ file, text }) => {
    expect(text).toBe(readGolden(file));
  },
);

test.each([
  ["0198c2f4-7b1e-7c3a-9d52-0a6f4e1b8c77", "nightshift-0198c2f4-7b1e-7c3a-9d52-0a6f4e1b8c77"],
  ["a", "nightshift-a"],
  ["x".repeat(52), `nightshift-${"x".repeat(52)}`],
])("the Job of run %s is called %s", (runId, name) => expect(jobName(runId)).toBe(name));

test("ids that are no names get one of their own, a DNS label that never collides with another's", () => {
  const ids = ["Run", "run", "run_1", "run-1", "run.1", "-run", "x".repeat(53), `${"x".repeat(52)}y`, "ü", ""];
  const names = ids.map(jobName);
  expect(new Set(names).size).toBe(ids.length);
  for (const name of names) expect(name).toMatch(/^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/);
  const labels = job({ ...RUN, runId: "x".repeat(80) }, kubernetesConfig(LEAST)).metadata?.labels;
  expect(labels?.[RUN_LABEL]).toMatch(/^x{52}-[0-9a-f]{10}$/);
});

test.each([
  [{ metadata: { name: "mine" } }, "metadata.name cannot be changed"],
  [{ metadata: { labels: { "nightshift.dev/run-id": null } } }, "metadata.labels.nightshift.dev/run-id cannot be changed"],
  [
    { spec: { template: { metadata: { labels: { "app.kubernetes.io/name": "x" } } } } },
    "spec.template.metadata.labels.app.kubernetes.io/name",
  ],
  [{ spec: { template: { metadata: null } } }, "spec.template.metadata.labels.app.kubernetes.io/name"],
  [{ spec: { parallelism: 2 } }, "spec.parallelism cannot be changed: a run has one trainer"],
  [{ spec: { podFailurePolicy: null } }, "spec.podFailurePolicy cannot be changed"],
  [
    { spec: { podReplacementPolicy: "TerminatingOrFailed" } },
    "spec.podReplacementPolicy cannot be changed: two trainers would write one run",
  ],
  [{ spec: { template: { spec: { restartPolicy: "OnFailure" } } } }, "spec.template.spec.restartPolicy"],
  [
    { spec: { template: { spec: { automountServiceAccountToken: true } } } },
    "automountServiceAccountToken cannot be changed: the trainer has no rights",
  ],
  [
    { spec: { template: { spec: { volumes: [{ name: "t", projected: { sources: [{ serviceAccountToken: { path: "t" } }] } }] } } } },
    "spec.template.spec.volumes[t] cannot hold a service account token",
  ],
  [{ spec: { template: { spec: { volumes: [{ name: "run", $patch: "delete" }] } } } }, "spec.template.spec.volumes[run]"],
  [{ spec: { template: { spec: { containers: [{ name: "trainer", args: ["sleep"] }] } } } }, "containers[trainer].args cannot be changed"],
  [{ spec: { template: { spec: { containers: [{ image: "x" }] } } } }, "spec.template.spec.containers[0] has no name"],
  [{ spec: { template: { spec: { containers: { trainer: {} } } } } }, "spec.template.spec.containers is a list in a Job"],
  [{ spec: { template: "x" } }, "spec.template is a mapping in a Job"],
  [{ spec: { backoffLimit: { a: 1 } } }, "spec.backoffLimit is a single value in a Job"],
  [{ spec: { template: { spec: { containers: [{ name: "trainer", $patch: "merge" }] } } } }, "containers[trainer].$patch is neither"],
  [{ spec: { $retainKeys: ["template"] } }, "spec.$retainKeys is a directive that is not understood"],
])("a template of %j is refused, by the name of the field", (jobTemplate, problem) => {
  const make = (): unknown => job(RUN, kubernetesConfig({ ...LEAST, jobTemplate }));
  expect(make).toThrow(problem);
  expect(make).toThrow(expect.objectContaining({ code: "job_template_invalid" }));
});

test.each([
  [
    { ...LEAST, unschedulableAfterMs: 3_600_000, activeDeadlineSeconds: 3_600 },
    "training.jobRunner.unschedulableAfterMs",
    "shorter than activeDeadlineSeconds",
  ],
  [{ ...LEAST, runDirectory: { kind: "sync", image: "i", configMap: "c" } }, "training.jobRunner.runDirectory.kind", "artifacts.driver s3"],
  [{ ...LEAST, jobTemplate: {}, jobTemplateFile: "job.yaml" }, "training.jobRunner.jobTemplateFile", "one of the two"],
  [{ ...LEAST, shmSize: "much" }, "training.jobRunner.shmSize", "not a quantity"],
  [{ ...LEAST, runDirectory: { ...LEAST.runDirectory, subPath: "../runs" } }, "training.jobRunner.runDirectory.subPath", "dots"],
  [{ ...LEAST, gpus: 1 }, "training.jobRunner", "gpus"],
])("the config refuses %j at %s", (jobRunner, path, problem) => {
  const parse = (): unknown => parseConfig({ training: { jobRunner } });
  expect(parse).toThrow(path);
  expect(parse).toThrow(problem);
});

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { parse as parseYaml } from "yaml";
import type { Objects } from "../artifact/objects.ts";
import type { KubernetesJobConfig } from "../config-job-runner.ts";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { JobTemplate } from "../training/job-template.ts";
import type { JobRunner } from "../training/job-runner.ts";
import { job } from "../training/job.ts";
import { createLocalJobRunner } from "../training/local.ts";
import { createMirroredJobRunner } from "../training/mirrored-job-runner.ts";
import { createRunMirror } from "../training/run-mirror.ts";
import { trainerDirectory } from "./agent-parts.ts";

interface Deps {
  /** The bucket of run directories; null without one. */
  mirror: Objects | null;
  log: Logger;
  now: () => number;
}

const MIRROR_EVERY_MS = 1_000;

/**
 * Where the configured trainers run. With Kubernetes a Job is made on trial, so that a template that cannot be is told of at the start and not at night.
 * @throws NightshiftError `cluster_unknown`, `job_template_invalid`, `config_unreadable`
 */
export async function openJobRunner(config: Config, { mirror, log, now }: Deps): Promise<JobRunner> {
  const { jobRunner } = config.training;
  if (jobRunner.driver === "local")
    return createLocalJobRunner({ python: resolve(config.python), trainerDirectory: trainerDirectory() }, { log });
  const template = jobTemplateOf(jobRunner);
  job({ runId: "trial", agent: "trial" }, jobRunner, template);
  // Its client is large: only those load it who use it.
  const [{ openCluster }, { createKubernetesJobRunner }] = await Promise.all([
    import("../cluster.ts"),
    import("../training/kubernetes.ts"),
  ]);
  const jobs = createKubernetesJobRunner({ config: jobRunner, template }, { cluster: await openCluster(), log, now });
  if (jobRunner.runDirectory.kind === "claim") return jobs;
  if (mirror === null) throw new RangeError("a run directory is mirrored in a bucket, and there is none");
  const openMirror = (run: { runId: string; runDirectory: string }) =>
    createRunMirror({ ...run, side: "control", intervalMs: MIRROR_EVERY_MS }, { objects: mirror, log });
  return createMirroredJobRunner(jobs, { openMirror, log });
}

/** What the operator wants changed in every Job, inline or in a file. @throws NightshiftError `config_unreadable` */
export function jobTemplateOf({ jobTemplate, jobTemplateFile }: KubernetesJobConfig): JobTemplate | undefined {
  if (jobTemplateFile === undefined) return jobTemplate;
  try {
    const template: unknown = parseYaml(readFileSync(jobTemplateFile, "utf8"));
    if (template === null || typeof template !== "object" || Array.isArray(template)) throw new Error("the top level is not a mapping");
    return template as JobTemplate;
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw nightshiftError("config_unreadable", { file: jobTemplateFile, problem }, { cause });
  }
}

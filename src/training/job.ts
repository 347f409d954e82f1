import { createHash } from "node:crypto";
import type { V1Container, V1Job, V1PodSpec, V1Toleration } from "@kubernetes/client-node";
import type { KubernetesJobConfig } from "../config-job-runner.ts";
import { mergeJobTemplate, type JobTemplate } from "./job-template.ts";
import { DIGESTS_DIRECTORY, RUN_DIRECTORY, SYNC_CONFIG_DIRECTORY, volumesOf } from "./job-volumes.ts";

/** The run that a trainer's Job is for. */
export interface JobRun {
  runId: string;
  agent: string;
}

/** The Job's labels that tell whose it is. */
export const RUN_LABEL = "nightshift.dev/run-id";
const AGENT_LABEL = "nightshift.dev/agent";
export const QUEUE_LABEL = "kueue.x-k8s.io/queue-name";
/** The container that trains; the others bring and take its files. */
export const TRAINER = "trainer";
/** Exit codes of the trainer that no restart can mend: bad config, bad dataset. */
const PERMANENT_EXIT_CODES = [64, 65];
/** User and group of the images. */
const USER = 2000;
const GPU = "nvidia.com/gpu";

/**
 * The Job (batch/v1) of a run's trainer, as it is sent. Pure: the same run and config give the same Job, whose name is the run's, so creating it twice is one Job.
 * One trainer at a time: no parallel pods, and a pod is replaced only when it has ended. Evictions are not counted as crashes; exit codes 64 and 65 end it at once.
 * @param template What the operator wants changed. Unset: that of `config`.
 * @throws NightshiftError `job_template_invalid`
 */
export function job(run: JobRun, config: KubernetesJobConfig, template: JobTemplate | undefined = config.jobTemplate): V1Job {
  const labels = labelsOf(run, config);
  const { namespace, kueueQueue } = config;
  const queue = kueueQueue === undefined ? {} : { [QUEUE_LABEL]: kueueQueue };
  const made: V1Job = {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: jobName(run.runId), ...(namespace === undefined ? {} : { namespace }), labels: { ...labels, ...queue } },
    spec: {
      parallelism: 1,
      completions: 1,
      backoffLimit: config.backoffLimit,
      activeDeadlineSeconds: config.activeDeadlineSeconds,
      ttlSecondsAfterFinished: config.ttlSecondsAfterFinished,
      // Not before the old pod has ended: two trainers must never write one run.
      podReplacementPolicy: "Failed",
      podFailurePolicy: {
        rules: [
          { action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] },
          { action: "FailJob", onExitCodes: { containerName: TRAINER, operator: "In", values: PERMANENT_EXIT_CODES } },
        ],
      },
      template: { metadata: { labels }, spec: podOf(run, config) },
    },
  };
  return template === undefined ? made : mergeJobTemplate(made, template);
}

/** A DNS label: `nightshift-` and the run's id, which for any id but lower-case letters, digits and dashes of usual length is shortened and told apart by a hash. */
export function jobName(runId: string): string {
  return `nightshift-${nameOf(runId, 52)}`;
}

/** The run's id as a label's value. */
export function runLabel(runId: string): string {
  return nameOf(runId, 63);
}

function nameOf(id: string, maxLength: number): string {
  if (id.length <= maxLength && /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/.test(id)) return id;
  const hash = createHash("sha256").update(id).digest("hex").slice(0, 10);
  const readable = id
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, maxLength - hash.length - 1)
    .replace(/^-+|-+$/g, "");
  return readable === "" ? hash : `${readable}-${hash}`;
}

function labelsOf({ runId, agent }: JobRun, { labels }: KubernetesJobConfig): Record<string, string> {
  return {
    ...labels,
    "app.kubernetes.io/name": "nightshift",
    "app.kubernetes.io/component": TRAINER,
    "app.kubernetes.io/managed-by": "nightshift",
    [RUN_LABEL]: runLabel(runId),
    [AGENT_LABEL]: agent,
  };
}

function podOf(run: JobRun, config: KubernetesJobConfig): V1PodSpec {
  const { volumes, trainerMounts, syncMounts } = volumesOf(run, config);
  const { runDirectory, imagePullSecrets, priorityClassName, runtimeClassName, nodeSelector } = config;
  const tolerations = tolerationsOf(config);
  return {
    restartPolicy: "Never",
    serviceAccountName: config.serviceAccount,
    // The trainer may ask the API server nothing.
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: config.terminationGracePeriodSeconds,
    ...(priorityClassName === undefined ? {} : { priorityClassName }),
    ...(runtimeClassName === undefined ? {} : { runtimeClassName }),
    ...(Object.keys(nodeSelector).length === 0 ? {} : { nodeSelector }),
    ...(tolerations.length === 0 ? {} : { tolerations }),
    ...(imagePullSecrets.length === 0 ? {} : { imagePullSecrets: imagePullSecrets.map((name) => ({ name })) }),
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      fsGroup: USER,
      fsGroupChangePolicy: "OnRootMismatch",
      seccompProfile: { type: "RuntimeDefault" },
    },
    ...(runDirectory.kind === "sync" ? { initContainers: syncContainers(run, config, runDirectory, syncMounts) } : {}),
    containers: [
      {
        name: TRAINER,
        ...imageOf(config.image, config),
        // A pod's own directory ends with it: nothing outlives the run there that could be worth keeping.
        args: ["train", RUN_DIRECTORY, ...(runDirectory.kind === "claim" ? ["--cache", DIGESTS_DIRECTORY] : [])],
        // Nothing is fetched, and what libraries cache goes where the root is not.
        env: [
          { name: "HOME", value: "/tmp" },
          { name: "HF_HUB_OFFLINE", value: "1" },
        ],
        ...containerOf(config.resources),
        volumeMounts: trainerMounts,
      },
    ],
    volumes,
  };
}

type Sync = Extract<KubernetesJobConfig["runDirectory"], { kind: "sync" }>;

/** First the run's files are brought; then a native sidecar keeps both copies alike. It ends after the trainer has, so that the last checkpoint is brought too. */
function syncContainers(
  { runId }: JobRun,
  config: KubernetesJobConfig,
  sync: Sync,
  volumeMounts: V1Container["volumeMounts"],
): V1Container[] {
  const args = ["artifact-sync", RUN_DIRECTORY, "--run", runId, "--config", `${SYNC_CONFIG_DIRECTORY}/nightshift.yaml`];
  const rest = { ...imageOf(sync.image, config), ...containerOf(sync.resources), ...(volumeMounts === undefined ? {} : { volumeMounts }) };
  return [
    { name: "artifact-sync-prepare", args: [...args, "--prepare"], ...rest },
    { name: "artifact-sync", restartPolicy: "Always", args, ...rest },
  ];
}

function imageOf(image: string, { imagePullPolicy }: KubernetesJobConfig): Pick<V1Container, "image" | "imagePullPolicy"> {
  return { image, ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }) };
}

/** What Pod Security's `restricted` asks of every container, and why it ended where nobody reads its log. */
function containerOf({ requests, limits }: KubernetesJobConfig["resources"]): Omit<V1Container, "name"> {
  return {
    resources: { requests: asQuantities(requests), limits: asQuantities(limits) },
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
    terminationMessagePolicy: "FallbackToLogsOnError",
  };
}

function asQuantities(amounts: Readonly<Record<string, string | number>>): Record<string, string> {
  return Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, String(amount)]));
}

function tolerationsOf({ tolerations, resources }: KubernetesJobConfig): V1Toleration[] {
  if (tolerations === undefined) return GPU in resources.limits ? [{ key: GPU, operator: "Exists", effect: "NoSchedule" }] : [];
  return tolerations.map((toleration) => Object.fromEntries(Object.entries(toleration).filter(([, value]) => value !== undefined)));
}

import { z } from "zod";

/** The part of the chart's values that belongs to one kind of pod. */
const labels = z.record(z.string(), z.string());
const port = z.int().min(1).max(65_535);
const quantity = z.union([z.number(), z.string().regex(/^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$/, "a quantity such as 250m or 2Gi")]);

/** What several of the chart's values share. */
export const common = { labels, port };

const resources = z
  .strictObject({
    requests: z.object({ cpu: quantity, memory: quantity }).catchall(quantity).describe("What the scheduler sets aside."),
    limits: z
      .object({ memory: quantity })
      .catchall(quantity)
      .describe("What the kernel enforces. No limit on the CPU unless you set one: it would throttle answers."),
  })
  .describe("Resources of its container.");

const placement = {
  podAnnotations: labels.describe("Annotations of its pods."),
  podLabels: labels.describe("More labels of its pods."),
  nodeSelector: labels.describe("Nodes that it may run on."),
  tolerations: z.array(z.record(z.string(), z.unknown())).describe("Taints that it tolerates."),
};

/** A value of the environment is visible to whoever may read pods: secrets are files. */
const extraEnv = z
  .record(z.string().regex(/^[A-Z_][A-Z0-9_]*$/), z.string())
  .describe("More environment variables. Not for secrets: those are files (secrets.files).");

const running = {
  resources,
  ...placement,
  terminationGracePeriodSeconds: z.int().positive().describe("From SIGTERM to SIGKILL."),
  startupSeconds: z.int().positive().describe("How long it may take to start."),
  extraEnv,
};

const scaled = {
  ...running,
  replicas: z.int().min(0).describe("Pods."),
  pdb: z
    .strictObject({ maxUnavailable: z.union([z.int().min(1), z.string().regex(/^[0-9]+%$/)]) })
    .describe("PodDisruptionBudget; made where there is more than one replica."),
  priorityClassName: z.string().describe("PriorityClass of its pods."),
  affinity: z.record(z.string(), z.unknown()).describe("Affinity of its pods."),
  topologySpreadConstraints: z.array(z.record(z.string(), z.unknown())).describe("Empty: spread over nodes where that can be had."),
};

const service = z.strictObject({ type: z.enum(["ClusterIP", "NodePort", "LoadBalancer"]), annotations: labels }).describe("Its Service.");

const enabled = z.boolean().describe("Run it.");

export const serve = z.strictObject({ ...scaled, port, service }).describe("The control service.");

export const ingest = z
  .strictObject({
    ...scaled,
    port,
    keda: z
      .strictObject({
        enabled: z.boolean().describe("Scale by the consumer group's lag, where the cluster has KEDA."),
        minReplicas: z.int().min(0),
        maxReplicas: z.int().min(1),
        lagThreshold: z.int().min(1).describe("Records behind, per replica."),
        authenticationRef: z.string().describe("TriggerAuthentication for Kafka; empty: none."),
      })
      .describe("A ScaledObject."),
  })
  .describe("Kafka to PostgreSQL.");

export const gateway = z.strictObject({ ...scaled, enabled, port, service }).describe("What agents call in place of vLLM.");

export const collector = z
  .strictObject({ ...scaled, enabled, port, grpcPort: port, service })
  .describe("One OTLP receiver for all agents.");

const schedule = {
  schedule: z
    .string()
    .regex(/^(@[a-z]+|(\S+ ){4}\S+)$/, "five fields of cron")
    .describe("When, as cron has it."),
  timeZone: z.string().min(1).describe("In which time zone."),
  suspend: z.boolean().describe("Start none."),
};

export const nightsSchema = z
  .strictObject({
    enabled,
    ...schedule,
    startingDeadlineSeconds: z.int().positive().describe("How late a night may still start."),
    activeDeadlineSeconds: z.int().positive().describe("How long asking for it may take, tries included."),
    backoffLimit: z.int().min(0).describe("Tries after the first."),
    successfulJobsHistoryLimit: z.int().min(0),
    failedJobsHistoryLimit: z.int().min(0),
    agents: z.record(z.string(), z.strictObject(schedule).partial()).describe("Of one agent otherwise."),
    resources,
    ...placement,
  })
  .describe("A CronJob for each agent.");

export const vllmSchema = z
  .strictObject({
    ...scaled,
    enabled,
    port,
    model: z.string().describe("Directory of the base model; empty: the agents', if it is the same."),
    servedModelNames: z.array(z.string()).describe("Names of the base; empty: the agents'."),
    maxLoraRank: z.int().positive(),
    maxLoras: z.int().min(4).describe("Adapters at once: stable, candidate, last known good and tonight's are four."),
    maxCpuLoras: z.int().min(4),
    extraArgs: z.array(z.string()).describe("More arguments of vLLM's."),
    shmSize: quantity,
    adapterAgent: z.strictObject({ resources }).describe("The native sidecar that looks after its adapters."),
  })
  .describe("vLLM by this chart.");

export const evaluationSchema = z
  .strictObject({ enabled, existingClaim: z.string().describe("Claim for its data; empty: gone with the pod."), ...running })
  .describe("Everything in one pod. For evaluation only.");

import { z } from "zod";

/** The part of the config tree that says where trainers run. Kubernetes' own names keep their spelling and units. */
const size = z.string().regex(/^\d+(?:\.\d+)?(?:[kMGTPE]i?|m)?$/, "not a quantity such as 500m, 4 or 16Gi");
const quantity = z.union([size, z.number().min(0)]);
const dnsName = z.string().regex(/^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/, "not the name of a Kubernetes object");
const absolutePath = z.string().regex(/^\/[^:]*$/, "not an absolute path");
const segment = "[A-Za-z0-9_][A-Za-z0-9._-]*";
const relativePath = z
  .string()
  .regex(new RegExp(`^${segment}(?:/${segment})*$`), "not a relative path without dots at the begin of its parts");

const resources = (defaults: { requests: Record<string, string | number>; limits: Record<string, string | number> }) =>
  z
    .strictObject({
      requests: z.record(z.string(), quantity).default(defaults.requests).describe("What the scheduler keeps free for it."),
      limits: z.record(z.string(), quantity).default(defaults.limits).describe("What it may not exceed."),
    })
    .prefault({});

const tolerationSchema = z.strictObject({
  key: z.string().optional().describe("Taint's key; unset with `Exists`: every taint."),
  operator: z.enum(["Exists", "Equal"]).optional().describe("Kubernetes takes `Equal` where it is unset."),
  value: z.string().optional().describe("Taint's value, for `Equal`."),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).optional().describe("Taint's effect; unset: every effect."),
  tolerationSeconds: z.int().min(0).optional().describe("How long a `NoExecute` taint is borne."),
});

const claimSchema = z
  .strictObject({
    kind: z.literal("claim"),
    claimName: dnsName.describe("PersistentVolumeClaim that `serve` and trainers share (ReadWriteMany, unless one node has them all)."),
    subPath: relativePath
      .default("runs")
      .describe("Where `dataDir/runs` lies in it. A trainer sees its own run, and its agent's `.digests`, only."),
  })
  .describe("`serve` and the trainer have the run directory on one volume.");

const syncSchema = z
  .strictObject({
    kind: z.literal("sync"),
    image: z.string().min(1).describe("Image of `nightshift`, which runs `artifact-sync` beside the trainer."),
    configMap: dnsName.describe("ConfigMap with `nightshift.yaml`, for its `artifacts`; mounted at /etc/nightshift."),
    secrets: z
      .array(
        z.strictObject({
          name: dnsName.describe("Secret in the Jobs' namespace."),
          items: z
            .array(
              z.strictObject({
                key: z.string().min(1).describe("Key of the Secret."),
                path: relativePath.describe("File that it becomes, below `mountPath`."),
              }),
            )
            .min(1)
            .optional()
            .describe("Which of its keys. Unset: all, each a file of its name."),
          mountPath: absolutePath.default("/run/secrets/nightshift").describe("Directory of the files. Several entries may share one."),
        }),
      )
      .default([])
      .describe("What `artifacts` of that config reads: the bucket's credentials. The trainer's container does not have them."),
    sizeLimit: size.optional().describe("Largest run directory; a pod that exceeds it is evicted. Unset: the node's disk."),
    resources: resources({ requests: { cpu: "50m", memory: "256Mi" }, limits: { memory: "2Gi" } }).describe("Of `artifact-sync`."),
  })
  .describe("The pod has a run directory of its own; it is kept like the one in the bucket of `artifacts` (driver s3).");

const kubernetesSchema = z.strictObject({
  driver: z.literal("kubernetes"),
  namespace: dnsName.optional().describe("Of the Jobs. Unset: the one that `serve` runs in."),
  image: z.string().min(1).describe("The trainer's image: `deploy/Dockerfile`, target `trainer`. By digest, or a tag that never moves."),
  imagePullPolicy: z.enum(["IfNotPresent", "Always", "Never"]).optional().describe("Unset: Kubernetes' own choice by the tag."),
  imagePullSecrets: z.array(dnsName).default([]).describe("Secrets of the image's registry."),
  serviceAccount: dnsName.describe("Account of the trainer's pods. It needs no rights, and no token of it is mounted."),
  labels: z
    .record(z.string(), z.string().regex(/^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/, "not a label's value"))
    .default({})
    .describe("Labels of Job and pod beside Nightshift's own, such as the release's."),
  resources: resources({ requests: { cpu: 2, memory: "16Gi" }, limits: { memory: "32Gi", "nvidia.com/gpu": 1 } }).describe(
    "Of the trainer. Take `nvidia.com/gpu` out of `limits` to train on a CPU.",
  ),
  nodeSelector: z.record(z.string(), z.string()).default({}).describe("Labels that its node must have."),
  tolerations: z
    .array(tolerationSchema)
    .optional()
    .describe("Taints that it bears. Unset: `nvidia.com/gpu` with `NoSchedule`, where `limits` has GPUs."),
  priorityClassName: dnsName
    .optional()
    .describe("PriorityClass below that of what serves, so that the trainer is preempted and not production."),
  runtimeClassName: dnsName.optional().describe("RuntimeClass, such as `nvidia`."),
  activeDeadlineSeconds: z
    .int()
    .positive()
    .default(43_200)
    .describe("Longest life of a trainer's Job, waiting for a node included. Kueue's preemption begins it anew."),
  ttlSecondsAfterFinished: z.int().min(0).default(86_400).describe("How long an ended Job and its log are kept."),
  backoffLimit: z.int().min(0).default(3).describe("Crashes after which the trainer is not started again. Evictions do not count."),
  terminationGracePeriodSeconds: z
    .int()
    .positive()
    .default(120)
    .describe("From SIGTERM to SIGKILL: time for a checkpoint, and with `sync` for its way to the bucket."),
  shmSize: size.default("1Gi").describe("Size of /dev/shm, which counts as the trainer's memory."),
  runDirectory: z.discriminatedUnion("kind", [claimSchema, syncSchema]).describe("How the run directory reaches the trainer."),
  modelCache: z
    .strictObject({
      claimName: dnsName.describe("PersistentVolumeClaim with the base models."),
      subPath: relativePath.optional().describe("Directory in it."),
      mountPath: absolutePath.describe(
        "Where it is mounted, read-only. `agents.*.baseModel` lies below it, in `serve` under the same path.",
      ),
    })
    .optional()
    .describe("Base models. Unset: the image has them."),
  kueueQueue: dnsName.optional().describe("Kueue's LocalQueue: label `kueue.x-k8s.io/queue-name` of the Job."),
  unschedulableAfterMs: z
    .int()
    .positive()
    .default(14_400_000)
    .describe("A trainer that has found no node, no quota and no turn for so long ends its run as `no_capacity`, which is no failure."),
  giveBackAfterIdleMs: z
    .int()
    .positive()
    .default(600_000)
    .describe(
      "A trainer that has waited for its batch so long is stopped, so that its GPU is free, and started again when the batch is there.",
    ),
  jobTemplate: z
    .record(z.string(), z.unknown())
    .optional()
    .describe(
      "Part of a Job (batch/v1) that is merged into Nightshift's as `kubectl patch --type strategic` does. What keeps one trainer per run, and the trainer without rights, cannot be changed.",
    ),
  jobTemplateFile: z.string().min(1).optional().describe("YAML file with that part of a Job, in place of `jobTemplate`."),
  rolloutsOn: z.literal("fleet").default("fleet").describe("Where rollouts are sampled: `fleet`, the agents' policy servers."),
});

export const jobRunnerSchema = z
  .discriminatedUnion("driver", [z.strictObject({ driver: z.literal("local") }), kubernetesSchema])
  .prefault({ driver: "local" })
  .describe("Where trainers run: `local`, as a child of `serve` or `up`, or `kubernetes`, as a Job for each run.");

export type JobRunnerConfig = z.infer<typeof jobRunnerSchema>;
export type KubernetesJobConfig = z.infer<typeof kubernetesSchema>;

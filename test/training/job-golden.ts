import { readFileSync, writeFileSync } from "node:fs";
import { stringify } from "yaml";
import { jobRunnerSchema, type KubernetesJobConfig } from "../../src/config-job-runner.ts";
import { job } from "../../src/training/job.ts";

/** What every Kubernetes job runner must be told. */
export const LEAST = {
  driver: "kubernetes",
  image: "registry.example/nightshift-trainer:0.1.0",
  serviceAccount: "nightshift-trainer",
  runDirectory: { kind: "claim", claimName: "nightshift-data" },
} as const;

const RUN = { runId: "0198c2f4-7b1e-7c3a-9d52-0a6f4e1b8c77", agent: "support" };

/** Config by name of the golden file, as an operator would write it. */
const CASES: Readonly<Record<string, object>> = {
  minimal: { ...LEAST, resources: { requests: { cpu: "500m", memory: "2Gi" }, limits: { cpu: 2, memory: "4Gi" } } },
  "gpu-kueue": {
    ...LEAST,
    namespace: "nightshift-training",
    image: "registry.example/nightshift-trainer@sha256:7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730",
    imagePullPolicy: "IfNotPresent",
    imagePullSecrets: ["registry"],
    labels: { "app.kubernetes.io/instance": "night", "app.kubernetes.io/version": "0.1.0" },
    nodeSelector: { "node.kubernetes.io/instance-type": "gpu-large" },
    priorityClassName: "below-serving",
    runtimeClassName: "nvidia",
    modelCache: { claimName: "models", subPath: "qwen", mountPath: "/models" },
    kueueQueue: "nights",
    shmSize: "8Gi",
    terminationGracePeriodSeconds: 300,
  },
  "artifact-sync": {
    ...LEAST,
    runDirectory: {
      kind: "sync",
      image: "registry.example/nightshift:0.1.0",
      configMap: "night-config",
      secrets: [
        { name: "bucket", items: [{ key: "id", path: "s3-access-key-id" }] },
        { name: "bucket-secret", items: [{ key: "secret", path: "s3-secret-access-key" }] },
        { name: "ca", mountPath: "/run/secrets/ca" },
      ],
      sizeLimit: "20Gi",
    },
  },
  "job-template": {
    ...LEAST,
    jobTemplate: {
      metadata: { annotations: { "example.com/cost-centre": "agents" } },
      spec: {
        ttlSecondsAfterFinished: 600,
        template: {
          metadata: { annotations: { "cluster-autoscaler.kubernetes.io/safe-to-evict": "false" } },
          spec: {
            tolerations: [{ key: "spot", operator: "Exists" }],
            affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } } },
            volumes: [
              { name: "tmp", $patch: "replace", emptyDir: { sizeLimit: "10Gi" } },
              { name: "cache", emptyDir: {} },
            ],
            containers: [
              {
                name: "trainer",
                env: [
                  { name: "HOME", value: "/cache" },
                  { name: "OMP_NUM_THREADS", value: "4" },
                ],
                volumeMounts: [{ mountPath: "/cache", name: "cache" }],
                resources: { limits: { memory: "64Gi", "nvidia.com/gpu": null, "nvidia.com/mig-3g.40gb": "1" } },
              },
            ],
          },
        },
      },
    },
  },
};

export function kubernetesConfig(written: object): KubernetesJobConfig {
  const parsed = jobRunnerSchema.parse(written);
  if (parsed.driver !== "kubernetes") throw new Error("not Kubernetes");
  return parsed;
}

/** The golden files as the code makes them now. */
export function jobGolden(): { file: URL; text: string }[] {
  return Object.entries(CASES).map(([name, written]) => ({
    file: new URL(`golden/job-${name}.yaml`, import.meta.url),
    text: stringify(job(RUN, kubernetesConfig(written)), { lineWidth: 0, aliasDuplicateObjects: false }),
  }));
}

export function readGolden(file: URL): string {
  return readFileSync(file, "utf8");
}

export function rewriteJobGolden(): void {
  for (const { file, text } of jobGolden()) writeFileSync(file, text);
}

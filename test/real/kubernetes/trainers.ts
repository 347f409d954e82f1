import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { openCluster } from "../../../src/cluster.ts";
import { silentLog, type Logger } from "../../../src/log.ts";
import type { JobRunner } from "../../../src/training/job-runner.ts";
import { RUN_LABEL } from "../../../src/training/job.ts";
import { createKubernetesJobRunner } from "../../../src/training/kubernetes.ts";
import { digestsPath } from "../../../src/training/run-files.ts";
import { until } from "../../e2e/processes.ts";
import { kubernetesConfig } from "../../training/job-golden.ts";
import { scriptedRun, writeScriptedTrainer, type ScriptedRun } from "../../training/scripted-trainer.ts";
import { startCluster, type Cluster } from "./cluster.ts";
import type { Image } from "./container.ts";
import type { AuditEvent } from "./control-plane.ts";

/** A cluster in which trainers do as their run's plan says, and which grants `serve` what the chart's Role grants it. */
export interface Trainers {
  cluster: Cluster;
  /** A runner of its own for every call, as of another process. */
  runner(changes?: object, log?: Logger): Promise<JobRunner>;
  run(runId: string, plan: string): ScriptedRun;
  /** The run's pods, oldest first. */
  pods(runId: string): Promise<{ metadata: { name: string }; status?: { phase?: string } }[]>;
  close(): Promise<void>;
}

export const NAMESPACE = "nights";
const CLAIM = "nightshift-data";
const RULES = [
  { apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "get", "delete", "list", "watch"] },
  { apiGroups: [""], resources: ["pods"], verbs: ["get", "list", "watch"] },
  { apiGroups: ["kueue.x-k8s.io"], resources: ["localqueues"], verbs: ["get"] },
  { apiGroups: ["kueue.x-k8s.io"], resources: ["workloads"], verbs: ["list"] },
];

/** @param images Further ones, by name. */
export async function startTrainers(images: Readonly<Record<string, Image>> = {}): Promise<Trainers> {
  const home = mkdtempSync(join(tmpdir(), "nightshift-trainers-"));
  const trainer = join(home, "trainer");
  writeScriptedTrainer(trainer);
  const entrypoint = ["python3", "-m", "nightshift_trainer"];
  // Not below /tmp, which is a volume of the pod's own.
  const folders = [{ source: trainer, target: "/opt/trainer" }];
  const image = {
    entrypoint,
    workingDir: "/opt/trainer",
    user: 2000,
    folders,
    env: { PATH: process.env["PATH"] ?? "", PYTHONDONTWRITEBYTECODE: "1" },
  };
  const cluster = await startCluster({ images: { ...images, "scripted-trainer": image }, gpus: 1 });
  await prepareNamespace(cluster);
  // The client's own rules find it there.
  process.env["KUBECONFIG"] = await serviceAccountConfig(cluster, join(home, "serve.kubeconfig"));
  const api = await openCluster();
  const claimed = (): string => cluster.volumes.directoryOf(NAMESPACE, CLAIM);
  return {
    cluster,
    runner: async (changes = {}, log = silentLog()) => {
      const written = { ...LEAST_CONFIG, ...changes };
      return createKubernetesJobRunner({ config: kubernetesConfig(written), template: undefined }, { cluster: api, log, now: Date.now });
    },
    run(runId, plan) {
      const runs = join(claimed(), "runs");
      // `serve` and trainers are one user in a cluster; here the test is root.
      for (const agent of ["support", "billing"]) {
        const digests = join(runs, digestsPath(agent));
        mkdirSync(digests, { recursive: true });
        chmodSync(digests, 0o777);
      }
      return scriptedRun(join(runs, runId), plan);
    },
    async pods(runId) {
      const path = `/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=${encodeURIComponent(`${RUN_LABEL}=${runId}`)}`;
      return (await cluster.api.get<{ items: { metadata: { name: string } }[] }>(path)).items;
    },
    async close() {
      delete process.env["KUBECONFIG"];
      await cluster.close();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

const LEAST_CONFIG = {
  driver: "kubernetes",
  namespace: NAMESPACE,
  image: "registry.test/scripted-trainer:1",
  serviceAccount: "trainer",
  resources: { requests: { cpu: "10m", memory: "16Mi" }, limits: { memory: "64Mi" } },
  runDirectory: { kind: "claim", claimName: CLAIM },
  terminationGracePeriodSeconds: 5,
};

async function prepareNamespace(cluster: Cluster): Promise<void> {
  const metadata = (name: string, more: object = {}): object => ({ metadata: { name, namespace: NAMESPACE, ...more } });
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  const rbac = "rbac.authorization.k8s.io";
  await cluster.apply(
    { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE, labels } },
    { apiVersion: "v1", kind: "ServiceAccount", ...metadata("trainer") },
    { apiVersion: "v1", kind: "ServiceAccount", ...metadata("serve") },
    { apiVersion: `${rbac}/v1`, kind: "Role", ...metadata("serve"), rules: RULES },
    {
      ...{ apiVersion: `${rbac}/v1`, kind: "RoleBinding", ...metadata("serve") },
      roleRef: { apiGroup: rbac, kind: "Role", name: "serve" },
      subjects: [{ kind: "ServiceAccount", name: "serve", namespace: NAMESPACE }],
    },
    {
      ...{ apiVersion: "v1", kind: "PersistentVolumeClaim", ...metadata(CLAIM) },
      spec: { accessModes: ["ReadWriteMany"], storageClassName: "standard", resources: { requests: { storage: "1Gi" } } },
    },
  );
  const path = `/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims/${CLAIM}`;
  await until(
    "the claim is bound",
    30_000,
    async () => (await cluster.api.get<{ status?: { phase?: string } }>(path)).status?.phase === "Bound" || null,
  );
}

/** A kubeconfig with a token of the account that `serve` has. */
async function serviceAccountConfig(cluster: Cluster, file: string): Promise<string> {
  const token = (await cluster.kubectl(["create", "token", "serve", "-n", NAMESPACE, "--duration", "4h"])).trim();
  const admin = JSON.parse(await cluster.kubectl(["config", "view", "--raw", "-o", "json"])) as { clusters: { cluster: object }[] };
  const config = {
    ...{ apiVersion: "v1", kind: "Config", "current-context": "serve" },
    clusters: [{ name: "test", cluster: admin.clusters[0]?.cluster }],
    users: [{ name: "serve", user: { token } }],
    contexts: [{ name: "serve", context: { cluster: "test", user: "serve", namespace: NAMESPACE } }],
  };
  writeFileSync(file, stringify(config), { mode: 0o600 });
  return file;
}

interface AuditedPod {
  metadata?: { name?: string; labels?: Record<string, string> };
  status?: { phase?: string };
}

/**
 * By the API server's audit log: the most pods of any one run that were between their begin, which is their binding to a node, and their end, which is a terminal phase or
 * that their kubelet let them go, at one moment.
 */
export function mostTrainersOfOneRun(audit: readonly AuditEvent[]): number {
  const alive = new Map<string, Set<string>>();
  const runOf = new Map<string, string>();
  let most = 0;
  for (const { verb, user, objectRef, responseObject, responseStatus } of audit) {
    if (objectRef?.resource !== "pods" || (responseStatus?.code ?? 500) >= 300) continue;
    const pod = responseObject as AuditedPod | undefined;
    const run = pod?.metadata?.labels?.[RUN_LABEL];
    const name = pod?.metadata?.name ?? objectRef.name ?? "";
    if (run !== undefined) runOf.set(name, run);
    const its = runOf.get(name);
    if (its === undefined) continue;
    const living = alive.get(its) ?? new Set<string>();
    alive.set(its, living);
    const phase = pod?.status?.phase;
    if (objectRef.subresource === "binding" || phase === "Running") living.add(name);
    if (phase === "Succeeded" || phase === "Failed" || (verb === "delete" && user.username.startsWith("system:node:"))) living.delete(name);
    most = Math.max(most, living.size);
  }
  return most;
}

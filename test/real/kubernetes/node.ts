import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { V1Pod } from "@kubernetes/client-node";
import { KubeError, type KubeApi } from "./api.ts";
import { NETWORK } from "./bridge.ts";
import type { Image } from "./container.ts";
import { startPod, type PodRun } from "./pod.ts";

export interface NodeOptions {
  /** By the image's name without registry, tag and digest. */
  images: Readonly<Record<string, Image>>;
  name?: string;
  gpus?: number;
  labels?: Readonly<Record<string, string>>;
  taints?: readonly { key: string; value?: string; effect: "NoSchedule" | "NoExecute" | "PreferNoSchedule" }[];
  /** Where the containers' logs stay. */
  logs: string;
  /** Folders of pods. */
  home: string;
}

/** A Node object that is kept Ready, and the kubelet of its pods. */
export interface TestNode {
  readonly name: string;
  /** What a command is an argument of to run in a container, as `kubectl exec` would run it; null while nothing runs there. */
  inside(namespace: string, pod: string, container: string): readonly string[] | null;
  /** As the kernel ends a container that takes more memory than it may. */
  killForMemory(namespace: string, pod: string, container: string): void;
  /** kill -9 of a container's command. */
  killNow(namespace: string, pod: string, container: string): void;
  /** SIGSTOP of a container's command; SIGCONT when what this returns is called. */
  freeze(namespace: string, pod: string, container: string): () => void;
  /** Says that more or fewer GPUs are there. */
  setGpus(count: number): Promise<void>;
  /** Ends every container without grace. */
  close(): Promise<void>;
}

/** Half of the real one: a test's event loop may be late. */
const HEARTBEAT_MS = 5_000;
/** Pods of all nodes of this process: their addresses must differ. */
const pods = { count: 0 };

export async function startNode(api: KubeApi, options: NodeOptions): Promise<TestNode> {
  const name = options.name ?? "node-1";
  const capacity: Record<string, string> = {
    ...{ cpu: "64", memory: "256Gi", pods: "110", "ephemeral-storage": "1Ti" },
    ...{ "nvidia.com/gpu": String(options.gpus ?? 1) },
  };
  const runs = new Map<string, { uid: string; run: PodRun }>();
  /** Of pods whose objects are gone already. */
  const ending = new Set<Promise<void>>();
  mkdirSync(options.logs, { recursive: true });
  await register(api, name, capacity, options);
  const renew = (): void => void renewLease(api, name).catch(() => {});
  renew();
  const heartbeat = setInterval(renew, HEARTBEAT_MS);

  function start(key: string, pod: V1Pod): void {
    const uid = pod.metadata?.uid ?? "";
    const index = ++pods.count;
    const image = (image: string): Image | null => options.images[imageName(image)] ?? null;
    const run = startPod(pod, { api, index, home: join(options.home, uid), logs: options.logs, image, capacity });
    runs.set(key, { uid, run });
  }

  function runOf(namespace: string, pod: string): PodRun {
    const known = runs.get(`${namespace}/${pod}`);
    if (known === undefined) throw new Error(`no pod ${namespace}/${pod} on ${name}`);
    return known.run;
  }

  const bound = api.follow<V1Pod>("/api/v1/pods", (key, pod) => {
    const known = runs.get(key);
    if (known !== undefined && known.uid !== pod?.metadata?.uid) {
      runs.delete(key);
      const killed = known.run.kill();
      ending.add(killed);
      void killed.finally(() => ending.delete(killed));
    }
    if (pod === null || pod.spec?.nodeName !== name) return;
    const { deletionTimestamp, deletionGracePeriodSeconds = 30 } = pod.metadata ?? {};
    const isOver = ["Succeeded", "Failed"].includes(pod.status?.phase ?? "");
    if (!runs.has(key) && !isOver) start(key, pod);
    if (deletionTimestamp !== undefined) runs.get(key)?.run.terminate(deletionGracePeriodSeconds);
  });
  await bound.isListed;
  return {
    name,
    inside: (namespace, pod, container) => runs.get(`${namespace}/${pod}`)?.run.inside(container) ?? null,
    killForMemory: (namespace, pod, container) => runOf(namespace, pod).killForMemory(container),
    killNow: (namespace, pod, container) => runOf(namespace, pod).killNow(container),
    freeze: (namespace, pod, container) => runOf(namespace, pod).freeze(container),
    async setGpus(count) {
      const resources = { "nvidia.com/gpu": String(count) };
      await api.patch(`/api/v1/nodes/${name}/status`, { status: { capacity: resources, allocatable: resources } });
    },
    async close() {
      bound.close();
      clearInterval(heartbeat);
      await Promise.all([...ending, ...[...runs.values()].map(({ run }) => run.kill())]);
    },
  };
}

/** `registry/team/nightshift:1.2@sha256:…` is `nightshift`. */
function imageName(image: string): string {
  return (image.split("/").at(-1) ?? "").split("@")[0]?.split(":")[0] ?? "";
}

async function register(api: KubeApi, name: string, capacity: Record<string, string>, { labels, taints }: NodeOptions): Promise<void> {
  const places = { "topology.kubernetes.io/zone": "zone-a", "topology.kubernetes.io/region": "region-a" };
  const kinds = { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64" };
  const now = new Date().toISOString();
  const condition = (type: string, status: string, reason: string): object => ({
    type,
    status,
    reason,
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  });
  const status = {
    capacity,
    allocatable: capacity,
    addresses: [
      { type: "InternalIP", address: NETWORK.nodeIp },
      { type: "Hostname", address: name },
    ],
    conditions: [
      condition("Ready", "True", "KubeletReady"),
      condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
      condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
      condition("PIDPressure", "False", "KubeletHasSufficientPID"),
    ],
    nodeInfo: {
      ...{ machineID: "", systemUUID: "", bootID: "", kernelVersion: "test", osImage: "test", containerRuntimeVersion: "test://1" },
      ...{ kubeletVersion: "v1.35.1", kubeProxyVersion: "", operatingSystem: "linux", architecture: "amd64" },
    },
  };
  const metadata = { name, labels: { ...kinds, ...places, ...labels } };
  await api.create("/api/v1/nodes", { apiVersion: "v1", kind: "Node", metadata, spec: { taints: taints ?? [] } });
  await api.patch(`/api/v1/nodes/${name}/status`, { status });
}

/** What the node controller reads: a node whose lease is old is not ready, and its pods are evicted. */
async function renewLease(api: KubeApi, name: string): Promise<void> {
  const path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
  const spec = { holderIdentity: name, leaseDurationSeconds: 40, renewTime: new Date().toISOString().replace("Z", "000Z") };
  try {
    await api.patch(`${path}/${name}`, { spec }, "merge-patch");
  } catch (error) {
    if (!(error instanceof KubeError) || error.code !== 404) throw error;
    await api.create(path, { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name, namespace: "kube-node-lease" }, spec });
  }
}

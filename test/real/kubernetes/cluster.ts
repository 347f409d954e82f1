import { join } from "node:path";
import { KubeError } from "./api.ts";
import { NETWORK } from "./bridge.ts";
import { startControlPlane, type ControlPlane } from "./control-plane.ts";
import { startForward, type Forward } from "./forward.ts";
import { startNode, type NodeOptions, type TestNode } from "./node.ts";
import { startProvisioner, type Provisioner } from "./provisioner.ts";
import { startServices } from "./services.ts";

/** A control plane with one node, Services, DNS and volumes: what a chart is installed on. */
export interface Cluster extends ControlPlane {
  readonly node: TestNode;
  readonly volumes: Provisioner;
  /** What a container of a pod has written so far is in `namespace_pod_container.log` below this. */
  readonly logs: string;
  /** By the Eviction API, as a drain does: the pod gets the condition DisruptionTarget and its grace period. */
  evict(namespace: string, pod: string): Promise<void>;
  /** A server on 127.0.0.1 of the tests becomes one that pods reach, at `as` or the same port. Resolves to the address for them. */
  expose(port: number, as?: number): Promise<string>;
}

/** Takes about ten seconds. `logs` is a folder that stays unless it is left out. */
export async function startCluster(
  options: Pick<NodeOptions, "images" | "gpus" | "labels" | "taints"> & { logs?: string },
): Promise<Cluster> {
  const plane = await startControlPlane();
  const forwards: Forward[] = [];
  const closers: (() => Promise<void>)[] = [() => plane.close()];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.toReversed()) await close();
  };
  try {
    const api = plane.apiAs("kubelet");
    closers.push(() => api.close());
    const services = await startServices(api);
    closers.push(() => services.close());
    const volumes = await startProvisioner(api, join(plane.home, "volumes"));
    closers.push(() => volumes.close());
    const logs = options.logs ?? join(plane.home, "logs");
    const node = await startNode(api, { ...options, logs, home: join(plane.home, "pods") });
    closers.push(() => node.close());
    return {
      ...plane,
      node,
      volumes,
      logs,
      evict: (namespace, pod) => evict(plane, namespace, pod),
      async expose(port, as = port) {
        forwards.push(await startForward({ host: NETWORK.nodeIp, port: as }, () => ({ host: "127.0.0.1", port })));
        return `${NETWORK.nodeIp}:${as}`;
      },
      async close() {
        for (const forward of forwards) await forward.close();
        await closeAll();
      },
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function evict(plane: ControlPlane, namespace: string, pod: string): Promise<void> {
  const eviction = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: pod, namespace } };
  for (;;) {
    try {
      await plane.api.create(`/api/v1/namespaces/${namespace}/pods/${pod}/eviction`, eviction);
      return;
    } catch (error) {
      // A disruption budget does not allow it now.
      if (!(error instanceof KubeError) || error.code !== 429) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

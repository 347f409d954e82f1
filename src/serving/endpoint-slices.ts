import { acceptedOf, watchList, type Cluster, type ClusterObject } from "../cluster.ts";
import type { Discovery } from "../config-policy-servers.ts";
import type { Logger } from "../log.ts";
import { holdReplicas, type ReplicaAddress, type ReplicaSource } from "./replica-source.ts";

/** The parts of a `discovery.k8s.io/v1` EndpointSlice that replicas are read from. A list without entries comes as null: Go writes one that was never made so. */
export interface EndpointSlice extends ClusterObject {
  addressType: string;
  endpoints?:
    | readonly {
        addresses: readonly string[];
        conditions?: { ready?: boolean; serving?: boolean; terminating?: boolean };
        targetRef?: { kind?: string; name?: string; uid?: string };
      }[]
    | null;
  ports?: readonly { name?: string; port?: number }[] | null;
}

/** Says of which Service a slice is. */
const SERVICE_LABEL = "kubernetes.io/service-name";

/** Replicas are the endpoints of a Service in Kubernetes, ready or not, as its EndpointSlices have them. Runs until `signal` aborts. */
export function createEndpointReplicas(
  discovery: Discovery,
  deps: { cluster: Cluster; log: Logger },
  { signal }: { signal: AbortSignal },
): ReplicaSource & { over: Promise<void> } {
  const held = holdReplicas();
  const { cluster, log } = deps;
  const changed = (slices: readonly EndpointSlice[]): void => {
    const before = new Map((held.current() ?? []).map((replica) => [identityOf(replica), replica]));
    const replicas = replicasOf(slices, discovery);
    held.set(replicas);
    for (const replica of replicas) {
      const { name, url, isReady } = replica;
      const known = before.get(identityOf(replica));
      if (known?.isReady !== isReady || known.url !== url) log.info({ replica: name, url, ready: isReady }, "replica found");
      before.delete(identityOf(replica));
    }
    for (const { name, url } of before.values()) log.info({ replica: name, url }, "replica gone");
  };
  return { ...held, over: watchList<EndpointSlice>(slicesOf(discovery, cluster), { cluster, log, changed }, { signal }) };
}

/**
 * The same, seen once.
 * @returns `slices`: how many there are; a Service that is there has one, with or without endpoints
 * @throws NightshiftError `cluster_unavailable`, `cluster_refused`
 */
export async function findReplicas(
  discovery: Discovery,
  cluster: Cluster,
): Promise<{ namespace: string; slices: number; replicas: ReplicaAddress[] }> {
  const { what, path, labelSelector, namespace } = slicesOf(discovery, cluster);
  const answer = await cluster.ask({ what, method: "GET", path, query: { labelSelector } });
  const { items } = acceptedOf<{ items: EndpointSlice[] }>({ what }, answer);
  const replicas = replicasOf(items, discovery).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return { namespace, slices: items.length, replicas };
}

function slicesOf({ service, namespace: named }: Discovery, cluster: Cluster) {
  const namespace = named ?? cluster.namespace;
  return {
    namespace,
    what: `endpointslices of ${namespace}/${service}`,
    path: `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
    labelSelector: `${SERVICE_LABEL}=${service}`,
  };
}

/**
 * One replica per pod, whatever number of slices it stands in: a slice that is being split shows a pod twice for a moment. An endpoint without a pod is called by its
 * address. Pure.
 */
export function replicasOf(slices: readonly EndpointSlice[], { port, agentPort }: Pick<Discovery, "port" | "agentPort">): ReplicaAddress[] {
  const found = new Map<string, ReplicaAddress>();
  for (const { addressType, endpoints, ports } of slices) {
    const number = typeof port === "number" ? port : (ports ?? []).find(({ name }) => name === port)?.port;
    if (number === undefined || (addressType !== "IPv4" && addressType !== "IPv6")) continue;
    for (const { addresses, conditions = {}, targetRef } of endpoints ?? []) {
      const [address] = addresses;
      if (address === undefined) continue;
      const host = addressType === "IPv6" ? `[${address}]` : address;
      const isPod = targetRef?.kind === "Pod";
      const replica: ReplicaAddress = {
        name: (isPod ? targetRef.name : undefined) ?? address,
        url: `http://${host}:${number}`,
        readinessUrl: `http://${host}:${agentPort}/ready`,
        uid: (isPod ? targetRef.uid : undefined) ?? null,
        // `serving` is the pod's own readiness; `ready` is also true of every pod where the Service publishes all of them. Unset means yes.
        isReady: (conditions.serving ?? conditions.ready ?? true) && conditions.terminating !== true,
      };
      const known = found.get(identityOf(replica));
      // Of two addresses of one pod (dual stack) the first in the order of slices stays, but one that is ready wins.
      if (known === undefined || (!known.isReady && replica.isReady)) found.set(identityOf(replica), replica);
    }
  }
  return [...found.values()];
}

function identityOf({ name, uid }: ReplicaAddress): string {
  return uid ?? name;
}

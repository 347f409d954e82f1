import type { V1Endpoint, V1EndpointSlice, V1Service } from "@kubernetes/client-node";
import { keyOf, type KubeApi } from "./api.ts";
import { NETWORK } from "./bridge.ts";
import { startDns } from "./dns.ts";
import { startForward, type Address, type Forward } from "./forward.ts";

/** What a node's proxy and a cluster's DNS do for Services, by their EndpointSlices. */
export interface ServiceNetwork {
  close(): Promise<void>;
}

export async function startServices(api: KubeApi): Promise<ServiceNetwork> {
  const listeners = new Map<string, Promise<Forward | null>>();
  let isClosed = false;
  const services = api.follow<V1Service>("/api/v1/services", reconcile);
  const slices = api.follow<V1EndpointSlice>("/apis/discovery.k8s.io/v1/endpointslices", reconcile);

  /** A service listens as long as somebody would answer: connections to one without endpoints are refused. */
  function reconcile(): void {
    // A last change, or a port that is tried again, would open what nobody closes any more.
    if (isClosed) return;
    const wanted = new Map<string, Address & { target: () => Address | null }>();
    for (const service of services.objects.values()) {
      for (const { port, host, name } of portsOf(service)) {
        const turn = { count: 0 };
        const target = (): Address | null => {
          const ready = addressesOf(slicesOf(service), name);
          return ready[turn.count++ % Math.max(1, ready.length)] ?? null;
        };
        if (addressesOf(slicesOf(service), name).length > 0)
          wanted.set(`${host}:${port} ${keyOf(service)} ${name}`, { host, port, target });
      }
    }
    for (const [key, listener] of listeners) {
      if (wanted.has(key)) continue;
      listeners.delete(key);
      void listener.then((forward) => forward?.close());
    }
    for (const [key, { host, port, target }] of wanted) {
      if (listeners.has(key)) continue;
      const listener = startForward({ host, port }, target).catch(() => null);
      listeners.set(key, listener);
      // The port's last listener may still be closing.
      void listener.then((forward) => forward === null && listeners.delete(key) && setTimeout(reconcile, 50));
    }
  }

  function slicesOf(service: V1Service): V1EndpointSlice[] {
    const { name, namespace } = service.metadata ?? {};
    return [...slices.objects.values()].filter(
      ({ metadata }) => metadata?.namespace === namespace && metadata?.labels?.["kubernetes.io/service-name"] === name,
    );
  }

  /** `service.namespace.svc.cluster.local`, or a pod of a headless one before it. */
  function resolve(name: string): string[] | null {
    const match = /^(?:([^.]+)\.)?([^.]+)\.([^.]+)\.svc\.cluster\.local$/.exec(name);
    const service = services.objects.get(`${match?.[3] ?? ""}/${match?.[2] ?? ""}`);
    if (match === null || service === undefined) return null;
    const clusterIp = service.spec?.clusterIP ?? "None";
    if (match[1] === undefined && clusterIp !== "None") return [clusterIp];
    const endpoints = liveEndpoints(slicesOf(service).flatMap((slice) => slice.endpoints ?? []));
    const named = match[1] === undefined ? endpoints : endpoints.filter(({ hostname }) => hostname === match[1]);
    return match[1] !== undefined && named.length === 0 ? null : named.flatMap(({ addresses }) => addresses);
  }

  await Promise.all([services.isListed, slices.isListed]);
  const dns = await startDns(NETWORK.dnsIp, resolve);
  return {
    async close() {
      isClosed = true;
      services.close();
      slices.close();
      await dns.close();
      const open = [...listeners.values()];
      listeners.clear();
      for (const listener of open) await (await listener)?.close();
    },
  };
}

function portsOf({ spec }: V1Service): { host: string; port: number; name: string }[] {
  const host = spec?.clusterIP;
  if (host === undefined || host === "None" || host === "") return [];
  const ports = (spec?.ports ?? []).filter(({ protocol }) => (protocol ?? "TCP") === "TCP");
  return ports.map(({ port, name }) => ({ host, port, name: name ?? "" }));
}

function addressesOf(slices: readonly V1EndpointSlice[], portName: string): Address[] {
  return slices.flatMap(({ endpoints, ports }) => {
    const port = (ports ?? []).find(({ name }) => (name ?? "") === portName)?.port;
    if (port === undefined) return [];
    return liveEndpoints(endpoints ?? []).map(({ addresses: [host = ""] }) => ({ host, port }));
  });
}

/** The ready ones; if none is, those that still serve while they end. */
function liveEndpoints(endpoints: readonly V1Endpoint[]): V1Endpoint[] {
  const ready = endpoints.filter(({ conditions }) => conditions?.ready !== false);
  return ready.length > 0 ? ready : endpoints.filter(({ conditions }) => conditions?.serving === true && conditions.terminating === true);
}

import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "../../..");

export const NAMESPACE = "canary";
export const RELEASE = "nightshift";
export const LEASE_MS = 3_000;
/** Of the agents whose replicas are only told of. */
export const FAKE_BASE = `sha256:${"0".repeat(64)}`;
/** Of the API server. */
export const REWRITE = `/apis/llm-d.ai/v1alpha2/namespaces/${NAMESPACE}/inferencemodelrewrites/rewritten`;
export const ROUTE = `/apis/gateway.networking.k8s.io/v1/namespaces/${NAMESPACE}/httproutes/routed`;

/** One whose replicas are only told of. */
export function agentOf(model: string, router?: object): object {
  return {
    ...{ match: { serviceName: model }, model, baseModel: "/models/none", baseModelDigest: FAKE_BASE },
    policyServers: { discover: { service: "pool-pods", port: 8000 } },
    ...(router === undefined ? {} : { router }),
  };
}

/** Of the chart. @param base Digest of the model of the agent `shop`, whose policy servers the chart runs. */
export function canaryValues({ tokens, base }: { tokens: Record<string, { hash: string }>; base: string }): object {
  const hashes = (role: string): string[] => [tokens[role]?.hash ?? ""];
  const backend = { name: "vllm", kind: "InferencePool", group: "inference.networking.k8s.io" };
  const gpu = { "nvidia.com/gpu": null };
  const judge = { driver: "scripted", module: join(ROOT, "deploy/quickstart/judge.ts") };
  return {
    storage: { existingClaim: "shared" },
    baseModel: { volume: { persistentVolumeClaim: { claimName: "models", readOnly: true } } },
    // Nobody writes telemetry here.
    ...{ serve: { replicas: 2 }, ingest: { replicas: 0 }, gateway: { replicas: 1 }, collector: { enabled: false } },
    nights: { suspend: true },
    vllm: {
      ...{
        enabled: true,
        replicas: 1,
        model: "/models/tiny",
        servedModelNames: ["shop"],
        shmSize: "64Mi",
        terminationGracePeriodSeconds: 15,
      },
      resources: { requests: { cpu: "1", memory: "1Gi", ...gpu }, limits: { memory: "4Gi", ...gpu } },
    },
    config: {
      // A session that is left in the midst of a transaction is ended before the server takes the lock of a silent leader away.
      store: { driver: "postgres", connectTimeoutMs: 60_000, statementTimeoutMs: 10_000 },
      transport: { driver: "kafka", brokers: ["kafka:9092"] },
      artifacts: { driver: "file" },
      gateway: { leaseMs: LEASE_MS },
      api: { tokens: { operator: hashes("operator"), gateway: hashes("gateway"), agent: hashes("agent") } },
      tenants: { default: { collectorTokenHashes: hashes("collector") } },
      agents: {
        rewritten: agentOf("rewritten", { driver: "llm-d", name: "rewritten", pool: { name: "vllm" } }),
        routed: agentOf("routed", { driver: "http-route", name: "routed", backend, header: "x-gateway-model-name-rewrite" }),
        gated: agentOf("gated"),
        shop: {
          match: { serviceName: "shop" },
          model: "shop",
          baseModel: "/models/tiny",
          baseModelDigest: base,
          judge,
          gate: { enabled: false },
        },
      },
    },
  };
}

export function operatorsRoute(name: string): object {
  const spec = { parentRefs: [{ name: "public" }], hostnames: ["models.example.com"] };
  return { apiVersion: "gateway.networking.k8s.io/v1", kind: "HTTPRoute", metadata: { name, namespace: NAMESPACE }, spec };
}

/** The pool's one pod, as its Service's controller would tell of it. */
export function slice(): object {
  return {
    ...{ apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", addressType: "IPv4" },
    metadata: { name: "pool-pods-1", namespace: NAMESPACE, labels: { "kubernetes.io/service-name": "pool-pods" } },
    ports: [{ name: "http", port: 8000, protocol: "TCP" }],
    endpoints: [
      {
        addresses: ["10.77.9.1"],
        conditions: { ready: true, serving: true, terminating: false },
        targetRef: { kind: "Pod", namespace: NAMESPACE, name: "vllm-0", uid: "uid-vllm-0" },
      },
    ],
  };
}

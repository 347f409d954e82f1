import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { checkPolicyServers } from "../../../src/cli/doctor/policy-servers.ts";
import { openCluster, type Cluster } from "../../../src/cluster.ts";
import { parseConfig } from "../../../src/config.ts";
import { silentLog } from "../../../src/log.ts";
import { createEndpointReplicas } from "../../../src/serving/endpoint-slices.ts";
import type { ReplicaAddress } from "../../../src/serving/replica-source.ts";
import { NETWORK } from "./bridge.ts";
import { startControlPlane, type ControlPlane } from "./control-plane.ts";

const LIMIT = { timeout: 30_000, interval: 50 };
const DISCOVERY = { service: "vllm", port: 8000, agentPort: 4402 };

let plane: ControlPlane;
let cluster: Cluster;
beforeAll(async () => {
  plane = await startControlPlane();
  vi.stubEnv("KUBECONFIG", plane.kubeconfig);
  cluster = await openCluster();
}, 120_000);
afterAll(async () => {
  vi.unstubAllEnvs();
  await plane?.close();
});

let stopping: AbortController;
let source: ReturnType<typeof createEndpointReplicas>;
let changes: (readonly string[])[];
beforeEach(() => {
  stopping = new AbortController();
  source = createEndpointReplicas(DISCOVERY, { cluster, log: silentLog() }, { signal: stopping.signal });
  changes = [];
  source.subscribe(() => changes.push(shown()));
});
afterEach(async () => {
  stopping.abort();
  await source.over;
  await plane.kubectl(["delete", "endpointslices", "--all", "-n", "default", "--wait"]);
});

interface Pod {
  name: string;
  uid: string;
  ready: boolean;
}

/** A slice as the controller writes one; without pods of its own these are written by hand. */
function slice(name: string, pods: readonly Pod[], service = "vllm", address?: string): object {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace: "default", labels: { "kubernetes.io/service-name": service } },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8000, protocol: "TCP" }],
    endpoints: pods.map(({ name: pod, uid, ready }, index) => ({
      addresses: [address ?? `10.77.1.${index + 1}`],
      conditions: { ready, serving: ready, terminating: false },
      targetRef: { kind: "Pod", namespace: "default", name: pod, uid },
    })),
  };
}
const pod = (name: string, change: Partial<Pod> = {}): Pod => ({ name, uid: `uid-${name}`, ready: true, ...change });
const put = (name: string, pods: readonly Pod[]): Promise<void> => plane.apply(slice(name, pods));
const shown = (): string[] =>
  (source.current() ?? []).map(({ name, uid, isReady }: ReplicaAddress) => `${name} ${uid}${isReady ? "" : " not ready"}`);

test("pods of the Service, and of no other, appear, become ready, are rescheduled and go, without a restart of anything", async () => {
  await vi.waitFor(() => expect(source.current()).toEqual([]), LIMIT);
  await plane.apply(slice("other-1", [pod("postgres-0")], "postgres"));
  await put("vllm-1", [pod("vllm-0"), pod("vllm-1", { ready: false })]);
  await vi.waitFor(() => expect(shown()).toEqual(["vllm-0 uid-vllm-0", "vllm-1 uid-vllm-1 not ready"]), LIMIT);
  await put("vllm-1", [pod("vllm-0"), pod("vllm-1")]);
  await vi.waitFor(() => expect(shown()).toEqual(["vllm-0 uid-vllm-0", "vllm-1 uid-vllm-1"]), LIMIT);
  await put("vllm-1", [pod("vllm-0", { uid: "another" }), pod("vllm-1")]);
  await vi.waitFor(() => expect(shown()).toEqual(["vllm-0 another", "vllm-1 uid-vllm-1"]), LIMIT);
  await put("vllm-2", [pod("vllm-2")]);
  await vi.waitFor(() => expect(shown()).toHaveLength(3), LIMIT);
  await plane.kubectl(["delete", "endpointslice", "vllm-1", "-n", "default"]);
  await vi.waitFor(() => expect(shown()).toEqual(["vllm-2 uid-vllm-2"]), LIMIT);
  expect(changes.flat().some((line) => line.startsWith("postgres"))).toBe(false);
});

test("doctor looks at each of them, and says so where there are none", async () => {
  const server = createServer((_, response) => {
    response.writeHead(200, { "content-type": "application/json" }).end('{"data":[{"id":"other"}]}');
  });
  server.listen(0, NETWORK.nodeIp);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const doctor = async (): Promise<string[]> => {
    const policyServers = { discover: { service: "vllm", port } };
    const findings = await checkPolicyServers(parseConfig({ agents: { a: { model: "m", baseModel: "b", policyServers } } }));
    return findings.map(({ status, check, message }) => `${status} ${check}: ${message}`);
  };
  const none = "bad a: replicas of service vllm: the cluster finds none";
  const resort = "calls have nowhere to go but the Service's own address";
  expect(await doctor()).toEqual([`${none}: namespace default has no such Service; ${resort}`]);
  await put("vllm-1", []);
  expect(await doctor()).toEqual([`${none}: its selector fits no pod; ${resort}`]);
  await plane.apply(slice("vllm-1", [pod("vllm-0")], "vllm", NETWORK.nodeIp));
  const lines = await doctor();
  expect(lines[0]).toBe("ok a: replicas of service vllm: the cluster finds vllm-0");
  expect(lines).toContain(`bad a: vllm-0 (http://${NETWORK.nodeIp}:${port}): serves other, not m`);
  server.close();
  server.closeAllConnections();
});

test("the API server is killed and its history compacted: replicas stay as they were, and what happened meanwhile is seen after it", async () => {
  await put("vllm-1", [pod("vllm-0"), pod("vllm-1")]);
  await vi.waitFor(() => expect(shown()).toHaveLength(2), LIMIT);
  const before = changes.length;
  await plane.compactHistory();
  await plane.restartApiServer(1_000);
  expect(shown()).toHaveLength(2);
  await put("vllm-1", [pod("vllm-1")]);
  await vi.waitFor(() => expect(shown()).toEqual(["vllm-1 uid-vllm-1"]), LIMIT);
  // Never was there a moment without replicas.
  expect(changes.slice(before).every((lines) => lines.length > 0)).toBe(true);
}, 90_000);

test("an API server that answers nothing: replicas stay, and it is heard again", async () => {
  await put("vllm-1", [pod("vllm-0")]);
  await vi.waitFor(() => expect(shown()).toHaveLength(1), LIMIT);
  const resume = plane.pauseApiServer();
  // Longer than a watch may be silent, and than a list waits.
  await new Promise((resolve) => {
    setTimeout(resolve, 45_000);
  });
  expect(shown()).toEqual(["vllm-0 uid-vllm-0"]);
  resume();
  await put("vllm-1", [pod("vllm-0"), pod("vllm-1")]);
  await vi.waitFor(() => expect(shown()).toHaveLength(2), LIMIT);
}, 150_000);

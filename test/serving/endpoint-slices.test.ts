import { expect, test } from "vitest";
import { replicasOf, type EndpointSlice } from "../../src/serving/endpoint-slices.ts";

type Endpoint = NonNullable<EndpointSlice["endpoints"]>[number];

const PORT = { port: 8000, agentPort: 4402 };

function slice(endpoints: readonly Endpoint[], change: Partial<EndpointSlice> = {}): EndpointSlice {
  return { metadata: { name: "vllm-abcde" }, addressType: "IPv4", ports: [{ name: "http", port: 8123 }], endpoints, ...change };
}

function pod(number: number, conditions: Endpoint["conditions"] = { ready: true, serving: true, terminating: false }): Endpoint {
  return { addresses: [`10.0.0.${number}`], conditions, targetRef: { kind: "Pod", name: `vllm-${number}`, uid: `uid-${number}` } };
}

test("a replica per pod: its name, its uid, its server and its adapter agent", () => {
  expect(replicasOf([slice([pod(1)])], PORT)).toEqual([
    { name: "vllm-1", url: "http://10.0.0.1:8000", readinessUrl: "http://10.0.0.1:4402/ready", uid: "uid-1", isReady: true },
  ]);
});

test.each([{ endpoints: null, ports: null }, { endpoints: [] }])("a Service that no pod fits has no replicas: %j", (change) => {
  expect(replicasOf([slice([], change), slice([pod(2)])], PORT).map(({ name }) => name)).toEqual(["vllm-2"]);
});

test.each<[string, Endpoint["conditions"], boolean]>([
  ["nothing is said", {}, true],
  ["the pod is not ready", { ready: false, serving: false, terminating: false }, false],
  ["the Service publishes pods that are not ready", { ready: true, serving: false, terminating: false }, false],
  ["an older API server says ready alone", { ready: false }, false],
  ["the pod ends and still answers", { ready: false, serving: true, terminating: true }, false],
])("%s: it is there all the same", (_, conditions, isReady) => {
  expect(replicasOf([slice([pod(1, conditions)])], PORT)).toMatchObject([{ name: "vllm-1", isReady }]);
});

test("a port is found by its name, in each slice its own; a slice without it has no replica of ours", () => {
  const slices = [
    slice([pod(1)]),
    slice([pod(2)], { ports: [{ name: "http", port: 9000 }] }),
    slice([pod(3)], { ports: [{ name: "metrics", port: 1 }] }),
  ];
  expect(replicasOf(slices, { port: "http", agentPort: 4402 }).map(({ url }) => url)).toEqual([
    "http://10.0.0.1:8123",
    "http://10.0.0.2:9000",
  ]);
  expect(replicasOf([slice([pod(1)], { ports: null })], { port: "http", agentPort: 4402 })).toEqual([]);
});

test("a pod in two slices is one replica, ready if either says so; a dual-stack pod has its first address; names of hosts are none", () => {
  const notReady = pod(1, { ready: false, serving: false });
  expect(replicasOf([slice([notReady]), slice([pod(1)])], PORT)).toMatchObject([{ name: "vllm-1", isReady: true }]);
  expect(replicasOf([slice([pod(1)]), slice([notReady])], PORT)).toMatchObject([{ name: "vllm-1", isReady: true }]);
  const sixth = { ...pod(1), addresses: ["fd00::1"] };
  expect(replicasOf([slice([pod(1)]), slice([sixth], { addressType: "IPv6" })], PORT).map(({ url }) => url)).toEqual([
    "http://10.0.0.1:8000",
  ]);
  expect(replicasOf([slice([sixth], { addressType: "IPv6" })], PORT).map(({ url }) => url)).toEqual(["http://[fd00::1]:8000"]);
  expect(replicasOf([slice([{ addresses: ["vllm.example"] }], { addressType: "FQDN" })], PORT)).toEqual([]);
});

test("an endpoint without a pod is called by its address, and an empty slice has none", () => {
  expect(replicasOf([slice([{ addresses: ["10.0.0.9"] }]), slice([])], PORT)).toEqual([
    { name: "10.0.0.9", url: "http://10.0.0.9:8000", readinessUrl: "http://10.0.0.9:4402/ready", uid: null, isReady: true },
  ]);
});

import { expect, test } from "vitest";
import { serversOf } from "../../src/app/served-agents.ts";
import { parseConfig } from "../../src/config.ts";

const discover = (service: string, port: number | string = 8000) => ({ discover: { service, port } });
const configOf = (servers: Record<string, unknown>) =>
  parseConfig({
    agents: Object.fromEntries(
      Object.entries(servers).map(([agent, policyServers]) => [agent, { model: agent, baseModel: "base", policyServers }]),
    ),
  });
const found = (...args: Parameters<typeof serversOf>) => {
  const { url, agents } = serversOf(...args);
  return { url, agents: agents.map(({ agent }) => agent) };
};

test("a listed server is found by its name, with all agents that share its address", () => {
  const config = configOf({
    shop: [{ url: "http://vllm-0:8000", name: "vllm-0" }],
    desk: [{ url: "http://vllm-0:8000" }],
    far: [{ url: "http://other:8000" }],
  });
  expect(found(config, "vllm-0", {})).toEqual({ url: "http://vllm-0:8000", agents: ["shop", "desk"] });
  expect(found(config, "far-0", {})).toEqual({ url: "http://other:8000", agents: ["far"] });
  expect(found(config, "vllm-0", { serverUrl: "http://localhost:8000" })).toEqual({
    url: "http://localhost:8000",
    agents: ["shop", "desk"],
  });
  expect(() => serversOf(config, "vllm-9", {})).toThrow("no policy server has this name; there are: vllm-0, desk-0, far-0");
});

test("a pod's name is known to nobody: its Service says whose it is", () => {
  const config = configOf({ shop: discover("vllm"), desk: discover("vllm"), listed: [{ url: "http://x:1", name: "x" }] });
  expect(found(config, "vllm-6d5f-abcde", {})).toEqual({ url: "http://localhost:8000", agents: ["shop", "desk"] });
  expect(found(config, "x", {})).toEqual({ url: "http://x:1", agents: ["listed"] });
  const two = configOf({ shop: discover("vllm"), desk: discover("vllm-large", 9000) });
  expect(found(two, "pod", { service: "vllm-large" })).toEqual({ url: "http://localhost:9000", agents: ["desk"] });
  expect(() => serversOf(two, "pod", {})).toThrow("name one with --service: vllm, vllm-large");
  expect(() => serversOf(two, "pod", { service: "vlm" })).toThrow(
    "no agent discovers its replicas by this service; there are: vllm, vllm-large",
  );
  const named = configOf({ shop: discover("vllm", "http") });
  expect(() => serversOf(named, "pod", {})).toThrow("agents.shop.policyServers.discover.port");
  expect(found(named, "pod", { serverUrl: "http://localhost:8000" })).toEqual({ url: "http://localhost:8000", agents: ["shop"] });
});

test("what is wrong in a discovery, or in a listed server, is named", () => {
  expect(() => configOf({ shop: { discover: { service: "Not_A_Name" } } })).toThrow(
    "agents.shop.policyServers.discover.service: not the name of a Kubernetes object",
  );
  expect(() => configOf({ shop: { discover: { service: "vllm", prot: 1 } } })).toThrow('Unrecognized key: "prot"');
  expect(() => configOf({ shop: [{ url: "vllm" }] })).toThrow("agents.shop.policyServers.0.url: Invalid URL");
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { proveActive } from "../../../src/serving/attest.ts";
import { createVllm } from "../../../src/serving/vllm.ts";
import { policyServerAdapterContract } from "../../conformance/policy-server-adapters.ts";
import type { PolicyServerUnderTest } from "../../conformance/policy-server-http.ts";
import { policyServerContract } from "../../conformance/policy-server.ts";
import { measuredReference } from "../../serving/measured-reference.ts";
import { tinyModel } from "../../serving/tiny-server.ts";
import { startVllm, type VllmServer } from "../parts/vllm.ts";
import { told } from "./told.ts";

let server: VllmServer;
let files: Awaited<ReturnType<typeof tinyModel>>;
beforeAll(async () => {
  files = await tinyModel();
  server = await startVllm({ model: files.model, name: "base" });
}, 300_000);
afterAll(async () => {
  await server?.stop();
});

/** The suites share one process: starting it takes a minute. */
const borrowed = async (): Promise<PolicyServerUnderTest> => ({
  baseUrl: server.url,
  model: "base",
  adapters: files.adapters,
  stop: async () => {},
});

policyServerContract("vLLM", borrowed, { deterministic: false, checksRoles: false });
policyServerAdapterContract("vLLM", borrowed, { checksShapes: false });

describe("what vLLM does not refuse, the activation proof does", () => {
  const policy = () => createVllm({ url: server.url, timeoutMs: 60_000, connections: 8 });

  test("an adapter of another base", async () => {
    const driver = policy();
    for (const kind of ["good", "foreign"] as const) {
      expect(await driver.loadAdapter({ name: `${kind}-1`, path: files.adapters[kind] })).toEqual({ status: "loaded" });
    }
    const reference = await measuredReference(driver, "good-1", "base");
    const prove = (adapterName: string) =>
      proveActive(driver, { baseModel: "base", adapterName, reference, cacheSalt: crypto.randomUUID() });
    expect(await prove("good-1")).toMatchObject({ status: "active" });
    expect(await prove("foreign-1")).toMatchObject({ status: "refused" });
    for (const name of ["good-1", "foreign-1"]) await driver.unloadAdapter(name);
    await driver.close();
  });
});

test("doctor finds nothing wrong with it, and says what its HTTP does not tell", async () => {
  expect(await told(server.url, files.model)).toEqual([
    "ok shop: URL: vLLM 0.32.0",
    "ok shop: URL: loads adapters at run time, --max-loras 64",
    "ok shop: URL: logprobs are processed: temperature moves them",
    "warn shop: URL: max-cpu-loras, max-lora-rank and the scheduling policy cannot be seen over HTTP",
    "ok shop: URL: clock: agrees with this machine's",
  ]);
});

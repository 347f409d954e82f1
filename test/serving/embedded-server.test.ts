import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decideActive, proveActive } from "../../src/serving/attest.ts";
import { createVllm } from "../../src/serving/vllm.ts";
import { policyServerAdapterContract } from "../conformance/policy-server-adapters.ts";
import type { PolicyServerUnderTest } from "../conformance/policy-server-http.ts";
import { policyServerContract } from "../conformance/policy-server.ts";
import { measuredReference } from "./measured-reference.ts";
import { startTinyServer } from "./tiny-server.ts";

let server: Awaited<ReturnType<typeof startTinyServer>>;
beforeAll(async () => {
  server = await startTinyServer();
}, 120_000);
afterAll(async () => {
  await server?.stop();
});
/** All suites of this file share one process: starting it costs seconds. */
const borrowed = async (): Promise<PolicyServerUnderTest> => ({ ...server, stop: async () => {} });

policyServerContract("embedded server", borrowed, { deterministic: true, checksRoles: true });
policyServerAdapterContract("embedded server", borrowed, { checksShapes: true });

describe("what only the embedded server promises", () => {
  const post = async (path: string, body: unknown): Promise<{ status: number; message: string }> => {
    const response = await fetch(server.baseUrl + path, { method: "POST", body: JSON.stringify(body) });
    const answer = (await response.json()) as { error?: { message: string } };
    return { status: response.status, message: answer.error?.message ?? "" };
  };

  test.each([
    ["wide", /rank 96 is greater than max_lora_rank 64/],
    ["foreign", /does not fit this base model/],
    ["misnamed", /do not match its modules/],
    ["truncated", /no usable adapter/],
    ["nothing", /no usable adapter/],
  ] as const)("a bad adapter is 400 with the reason: %s", async (kind, reason) => {
    const path = kind === "nothing" ? "/nonexistent" : server.adapters[kind];
    const answer = await post("/v1/load_lora_adapter", { lora_name: "bad", lora_path: path });
    expect(answer).toMatchObject({ status: 400, message: expect.stringMatching(reason) as string });
  });

  test.each([
    [{ response_format: { type: "json_object" } }, "response_format"],
    [{ top_k: 5 }, "top_k"],
    [{ presence_penalty: 0.5 }, "presence_penalty"],
    [{ logit_bias: { "5": 1 } }, "logit_bias"],
    [{ n: 2 }, "n"],
    [{ tool_choice: "required" }, "tool_choice"],
  ])("what it would sample otherwise is refused by name: %o", async (extra, field) => {
    const answer = await post("/v1/chat/completions", { messages: [{ role: "user", content: "hi" }], max_tokens: 2, ...extra });
    expect(answer.status).toBe(400);
    expect(answer.message).toContain(field);
  });

  test("fields that change nothing are accepted", async () => {
    const extra = {
      response_format: { type: "text" },
      top_k: -1,
      presence_penalty: 0,
      n: 1,
      user: "x",
      parallel_tool_calls: true,
      tool_choice: null,
    };
    expect((await post("/v1/chat/completions", { messages: [{ role: "user", content: "hi" }], max_tokens: 2, ...extra })).status).toBe(200);
  });
});

describe("the vllm driver on the embedded server", () => {
  const sampling = { temperature: 0, topP: 1, maxTokens: 60, seed: 1 };
  const tools = [{ type: "function" as const, function: { name: "lookup_order", parameters: { order_id: "string" } } }];
  const user = { role: "user" as const, content: "Where is my order A1234?" };
  const driver = () => createVllm({ url: server.baseUrl, timeoutMs: 20_000, connections: 8 });

  test("a conversation with a tool, ids and logprobs of one length", async () => {
    const policy = driver();
    const first = await policy.chat({ model: "base", messages: [user], tools, sampling });
    if (first.status !== "completed") throw first.error;
    expect(first).toMatchObject({
      finishReason: "tool_calls",
      message: { content: null, tool_calls: [{ function: { name: "lookup_order" } }] },
    });
    expect(first.logprobs).toHaveLength(first.completionTokenIds.length);
    const id = first.message.tool_calls?.[0]?.id ?? "";
    const messages = [user, first.message, { role: "tool" as const, tool_call_id: id, content: '{"status": "delivered"}' }];
    const second = await policy.chat({ model: "base", messages, tools, sampling });
    expect(second).toMatchObject({
      status: "completed",
      finishReason: "stop",
      message: { role: "assistant", content: expect.stringContaining("delivered") as string },
    });
    await policy.close();
  });

  test("adapters come and go; the second load of a name is told apart from a refusal", async () => {
    const policy = driver();
    expect(await policy.loadAdapter({ name: "n-1", path: server.adapters.good })).toEqual({ status: "loaded" });
    expect(await policy.loadAdapter({ name: "n-1", path: server.adapters.good })).toEqual({ status: "already_loaded" });
    expect(await policy.loadAdapter({ name: "n-2", path: server.adapters.wide })).toMatchObject({
      status: "rejected",
      error: { code: "policy_server_refused" },
    });
    expect(await policy.models()).toEqual([
      { id: "base", root: expect.any(String) as string, parent: null },
      { id: "n-1", root: server.adapters.good, parent: "base" },
    ]);
    await policy.unloadAdapter("n-1");
    await policy.unloadAdapter("n-1");
    expect(await policy.chat({ model: "n-1", messages: [user], tools: [], sampling })).toMatchObject({ status: "rejected" });
    await policy.close();
  });

  test("the proof finds an active adapter, one without effect, one under the wrong name, and the wrong base", async () => {
    const policy = driver();
    for (const kind of ["good", "other", "noop"] as const) await policy.loadAdapter({ name: kind, path: server.adapters[kind] });
    const reference = await measuredReference(policy, "good", "base");
    const prove = async (adapterName: string, baseModel: string) =>
      await proveActive(policy, { baseModel, adapterName, reference, cacheSalt: crypto.randomUUID() });
    expect(await prove("good", "base")).toMatchObject({
      status: "active",
      figures: { slope: expect.closeTo(1, 5) as number, probeTokens: 260 },
    });
    expect(await prove("noop", "base")).toMatchObject({ status: "refused", reason: "no_effect" });
    expect(await prove("other", "base")).toMatchObject({ status: "refused" });
    expect(await prove("good", "other")).toMatchObject({ status: "refused", reason: "wrong_base" });
    expect(await prove("gone", "base")).toMatchObject({ status: "rejected", error: { code: "policy_server_refused" } });
    for (const name of ["good", "other", "noop"]) await policy.unloadAdapter(name);
    await policy.close();
  });

  test("decideActive on nothing is a refusal, not a crash", () => {
    expect(decideActive([])).toMatchObject({ status: "refused", reason: "too_few_probes" });
  });
});

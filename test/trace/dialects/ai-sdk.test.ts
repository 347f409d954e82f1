import { describe, expect, test } from "vitest";
import type { InferenceCall } from "../../../src/trace/call.ts";
import { decodeSpans } from "../../../src/trace/decode.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import { protobuf, spanJson, traceRequest, type Value } from "../../fixtures/otlp/build.ts";

/** What the recordings of `ai-sdk-6` and `ai-sdk-7` do not show. */
function callOf(attributes: Readonly<Record<string, Value>>) {
  return normalise(decodeSpans(protobuf(traceRequest([spanJson({ attributes })])))[0]!.value, []);
}

const DO_GENERATE = { "ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "tiny", "ai.model.provider": "vllm.chat" };

describe("version 4", () => {
  const call = callOf({
    ...DO_GENERATE,
    "ai.prompt.messages": JSON.stringify([
      { role: "user", content: [{ type: "text", text: "Where is A1?" }] },
      { role: "assistant", content: [{ type: "tool-call", toolCallId: "c1", toolName: "lookup", args: { id: "A1" } }] },
      { role: "tool", content: [{ type: "tool-result", toolCallId: "c1", toolName: "lookup", result: { status: "lost" } }] },
    ]),
    "ai.response.toolCalls": JSON.stringify([{ toolCallType: "function", toolCallId: "c2", toolName: "refund", args: '{"id":"A1"}' }]),
    "ai.usage.promptTokens": 7,
    "ai.usage.completionTokens": 3,
    "ai.settings.maxTokens": 64,
  }) as InferenceCall;

  test("calls have args and results have result", () => {
    expect(call.input).toEqual([
      { role: "user", parts: [{ type: "text", content: "Where is A1?" }] },
      { role: "assistant", parts: [{ type: "tool_call", id: "c1", name: "lookup", arguments: { id: "A1" } }] },
      { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: { status: "lost" } }] },
    ]);
    expect(call.output).toEqual([{ role: "assistant", parts: [{ type: "tool_call", id: "c2", name: "refund", arguments: { id: "A1" } }] }]);
  });

  test("tokens are promptTokens and completionTokens; NaN, which its streams send, is no number", () => {
    expect(call.usage).toEqual({ inputTokens: 7, outputTokens: 3 });
    expect(call.sampling).toEqual({ maxTokens: 64 });
    expect((callOf({ ...DO_GENERATE, "ai.usage.promptTokens": Number.NaN }) as InferenceCall).usage).toEqual({});
  });
});

test("reasoning, text and an object are the answer, in this order", () => {
  const call = callOf({ ...DO_GENERATE, "ai.response.reasoning": "Hm.", "ai.response.text": "Lost." }) as InferenceCall;
  expect(call.output).toEqual([
    {
      role: "assistant",
      parts: [
        { type: "reasoning", content: "Hm." },
        { type: "text", content: "Lost." },
      ],
    },
  ]);
  const object = callOf({ ...DO_GENERATE, "ai.operationId": "ai.generateObject.doGenerate", "ai.response.object": '{"lost":true}' });
  expect((object as InferenceCall).output).toEqual([{ role: "assistant", parts: [{ type: "text", content: '{"lost":true}' }] }]);
});

test("a span around model calls is structure, and an operation of any name is no more than that", () => {
  expect(callOf({ "ai.operationId": "ai.generateText", "ai.usage.promptTokens": 99 }).kind).toBe("structure");
  expect(callOf({ "ai.operationId": "constructor" }).kind).toBe("structure");
});

test("prompts and tools that were cut are damage, not text", () => {
  const tools = ['{"type":"function","name":"lookup","inputSchema":{"type":"object"}}', '{"type":"function","na'];
  expect(callOf({ ...DO_GENERATE, "ai.prompt.tools": tools })).toMatchObject({
    damage: ["truncated_json"],
    tools: [{ name: "lookup", parameters: { type: "object" } }],
  });
  const call = callOf({ ...DO_GENERATE, "ai.prompt.messages": '[{"role":"user","content":[{"type":"te' }) as InferenceCall;
  expect(call).toMatchObject({ damage: ["truncated_json"], input: [] });
});

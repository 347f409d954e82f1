import { expect, test } from "vitest";
import type { InferenceCall } from "../../../src/trace/call.ts";
import { decodeSpans } from "../../../src/trace/decode.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import { protobuf, spanJson, traceRequest, type Value } from "../../fixtures/otlp/build.ts";

/** What the recording of `traceloop-openai-flattened` does not show: Python's old form has ids and calls in the history, too. */
function callOf(attributes: Readonly<Record<string, Value>>) {
  return normalise(decodeSpans(protobuf(traceRequest([spanJson({ attributes })])))[0]!.value, []);
}

test("calls in the history keep their ids", () => {
  const call = callOf({
    "llm.request.type": "chat",
    "gen_ai.prompt.0.role": "assistant",
    "gen_ai.prompt.0.tool_calls.0.id": "c1",
    "gen_ai.prompt.0.tool_calls.0.name": "lookup",
    "gen_ai.prompt.0.tool_calls.0.arguments": '{"id":"A1"}',
    "gen_ai.prompt.1.role": "tool",
    "gen_ai.prompt.1.tool_call_id": "c1",
    "gen_ai.prompt.1.content": '["lost","found"]',
    "gen_ai.prompt.2.role": "user",
    "gen_ai.prompt.2.content": '[{"type": "text", "text": "Which?"}]',
    "gen_ai.prompt.3.role": "user",
    "gen_ai.prompt.3.content": "[not parts]",
    "llm.request.functions.0.name": "lookup",
    "llm.request.functions.0.parameters": '{"type":"object"}',
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "null",
    "gen_ai.completion.0.finish_reason": "stop",
    "gen_ai.usage.prompt_tokens": 9,
  }) as InferenceCall;
  expect(call.input).toEqual([
    { role: "assistant", parts: [{ type: "tool_call", id: "c1", name: "lookup", arguments: { id: "A1" } }] },
    { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: ["lost", "found"] }] },
    { role: "user", parts: [{ type: "text", content: "Which?" }] },
    { role: "user", parts: [{ type: "text", content: "[not parts]" }] },
  ]);
  expect(call).toMatchObject({ output: [], finishReasons: ["stop"], usage: { inputTokens: 9 } });
  expect(call.tools).toEqual([{ name: "lookup", parameters: { type: "object" } }]);
});

test("what an app declares is a tool or structure, with the app's own ids", () => {
  const association = { "traceloop.association.properties.session_id": "s-1", "traceloop.association.properties.user_id": "u-1" };
  const tool = callOf({
    ...association,
    "traceloop.span.kind": "tool",
    "traceloop.entity.name": "lookup",
    "traceloop.entity.input": '{"args":["A1"]}',
    "traceloop.entity.output": '"lost"',
  });
  expect(tool).toMatchObject({
    kind: "tool",
    toolName: "lookup",
    arguments: { args: ["A1"] },
    result: "lost",
    conversationKey: "s-1",
    subject: "u-1",
  });
  expect(callOf({ "traceloop.span.kind": "workflow" }).kind).toBe("structure");
  const chat = callOf({ ...association, "gen_ai.operation.name": "chat" });
  expect(chat).toMatchObject({ kind: "inference", conversationKey: "s-1", subject: "u-1" });
});

test("an enormous index costs one entry, indices over the budget are named, prototype keys go nowhere", () => {
  const far = callOf({
    "llm.request.type": "chat",
    "gen_ai.prompt.0.content": "a",
    "gen_ai.prompt.999999999.content": "b",
  }) as InferenceCall;
  expect(far.input.map(({ parts }) => parts[0]?.["content"])).toEqual(["a", "b"]);
  const many = Object.fromEntries(Array.from({ length: 10_001 }, (_, index) => [`gen_ai.prompt.${index}.content`, "x"]));
  const over = callOf({ "llm.request.type": "chat", ...many }) as InferenceCall;
  expect(over.input).toHaveLength(10_000);
  expect(over.damage).toEqual(["dropped_attributes"]);
  const hostile = { "gen_ai.prompt.0.__proto__.polluted": "x", "gen_ai.completion.0.constructor.prototype.polluted": "x" };
  expect(callOf({ "llm.request.type": "chat", ...hostile })).toMatchObject({ input: [], output: [] });
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
});

import { expect, test } from "vitest";
import { decodeSpans } from "../../../src/trace/decode.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import { protobuf, spanJson, traceRequest, type Value } from "../../fixtures/otlp/build.ts";

const callOf = (attributes: Readonly<Record<string, Value>>) => {
  const request = traceRequest([spanJson({ attributes })], { scope: "openinference.instrumentation.langchain" });
  return normalise(decodeSpans(protobuf(request))[0]!.value, []);
};
const lc = (name: string, kwargs: object) => ({ lc: 1, type: "constructor", id: ["langchain", "schema", "messages", name], kwargs });

const CALL = { id: "c1", name: "lookup", args: { id: "A1" }, type: "tool_call" };
const PROMPT = {
  messages: [
    [
      lc("SystemMessage", { content: [{ type: "text", text: "Be brief." }] }),
      lc("HumanMessage", { content: "Where is A1?", id: "m-1" }),
      lc("AIMessage", {
        content: [
          { type: "text", text: "I look." },
          { type: "tool_use", id: "c1", name: "lookup", input: {} },
        ],
        tool_calls: [CALL],
      }),
      lc("ToolMessage", { content: '{"status":"sent"}', tool_call_id: "c1", name: "lookup" }),
    ],
  ],
};
const COMPLETION = {
  generations: [
    [
      {
        text: "Sent.",
        generationInfo: { finish_reason: "stop", model_name: "tiny-2026" },
        message: lc("AIMessageChunk", { content: "Sent.", id: "r-1" }),
      },
    ],
  ],
};
const SAID = {
  kind: "inference",
  responseId: "r-1",
  responseModel: "tiny-2026",
  finishReasons: ["stop"],
  input: [
    { role: "system", parts: [{ type: "text", content: "Be brief." }] },
    { role: "user", parts: [{ type: "text", content: "Where is A1?" }] },
    {
      role: "assistant",
      parts: [
        { type: "text", content: "I look." },
        { type: "tool_call", id: "c1", name: "lookup", arguments: { id: "A1" } },
      ],
    },
    { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: { status: "sent" } }] },
  ],
  output: [{ role: "assistant", parts: [{ type: "text", content: "Sent." }] }],
};

test("its own messages, through OpenInference and through LangSmith", () => {
  const [input, output] = [JSON.stringify(PROMPT), JSON.stringify(COMPLETION)];
  expect(callOf({ "openinference.span.kind": "LLM", "input.value": input, "output.value": output })).toMatchObject(SAID);
  const run = { "langsmith.span.kind": "llm", "gen_ai.operation.name": "chat" };
  expect(callOf({ ...run, "gen_ai.prompt": input, "gen_ai.completion": output })).toMatchObject(SAID);
});

test("an id that LangChain made up is no response id", () => {
  for (const id of ["run-7", "lc_run--7"]) {
    const completion = { generations: [[{ message: lc("AIMessage", { content: "Sent.", id }) }]] };
    const values = { "input.value": JSON.stringify(PROMPT), "output.value": JSON.stringify(completion) };
    expect(callOf({ "openinference.span.kind": "LLM", ...values })).toMatchObject({ responseId: null });
  }
});

test("a tool: its message names the call, its only argument came without a name", () => {
  const tool = { "openinference.span.kind": "TOOL", "tool.name": "lookup", "input.value": "A1", "input.mime_type": "text/plain" };
  const output = JSON.stringify({ output: lc("ToolMessage", { content: '{"status":"sent"}', tool_call_id: "c1" }) });
  expect(callOf({ ...tool, "output.value": output })).toMatchObject({
    kind: "tool",
    toolName: "lookup",
    toolCallId: "c1",
    arguments: null,
    result: { status: "sent" },
  });
  expect(callOf({ ...tool, "input.value": '{"id":"A1"}', "input.mime_type": "application/json" })).toMatchObject({
    arguments: { id: "A1" },
  });
});

test("messages whose JSON was cut are read from the flattened ones", () => {
  const flattened = { "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "Where is A1?" };
  const call = callOf({ "openinference.span.kind": "LLM", "input.value": JSON.stringify(PROMPT).slice(0, 200), ...flattened });
  expect(call).toMatchObject({ dialect: "openinference", input: [{ role: "user", parts: [{ type: "text", content: "Where is A1?" }] }] });
});

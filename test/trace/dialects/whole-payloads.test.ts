import { describe, expect, test } from "vitest";
import { decodeSpans } from "../../../src/trace/decode.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import { protobuf, spanJson, traceRequest, type SpanSpec, type Value } from "../../fixtures/otlp/build.ts";

const callOf = (attributes: Readonly<Record<string, Value>>, spec: SpanSpec = {}) =>
  normalise(decodeSpans(protobuf(traceRequest([spanJson({ ...spec, attributes })])))[0]!.value, []);

const TOOLS = ["lookup", "refund"].map((name) => ({ type: "function", function: { name, parameters: { type: "object" } } }));
const REQUEST = { model: "tiny", temperature: 0.2, messages: [{ role: "user", content: "Where is A1?" }], tools: TOOLS };
const GLUED = { function: { name: "lookuprefund", arguments: '{"id":"A1"}{"id":"B2"}' } };

describe("LangSmith", () => {
  const run = (kind: string, prompt: object, completion: object) =>
    callOf({
      "langsmith.span.kind": kind,
      "gen_ai.operation.name": kind === "tool" ? "execute_tool" : "chat",
      "gen_ai.system": "langchain",
      "langsmith.metadata.ls_provider": "openai",
      "langsmith.metadata.thread_id": "t-1",
      "gen_ai.prompt": JSON.stringify(prompt),
      "gen_ai.completion": JSON.stringify(completion),
    });

  test("request and answer of the client, with parallel calls of a stream taken apart", () => {
    const message = { role: "assistant", content: "", tool_calls: [{ index: 0, id: "call_1", ...GLUED }] };
    expect(run("llm", REQUEST, { choices: [{ message, finish_reason: "tool_calls" }] })).toMatchObject({
      kind: "inference",
      provider: "openai",
      conversationKey: "t-1",
      sampling: { temperature: 0.2 },
      input: [{ role: "user", parts: [{ type: "text", content: "Where is A1?" }] }],
      output: [
        {
          role: "assistant",
          parts: [
            { type: "tool_call", id: "call_1", name: "lookup", arguments: { id: "A1" } },
            { type: "tool_call", name: "refund", arguments: { id: "B2" } },
          ],
        },
      ],
      tools: [{ name: "lookup" }, { name: "refund" }],
    });
  });

  test("a template that was filled is no model call, whatever its operation is called", () => {
    expect(run("prompt", { question: "x" }, { outputs: "y" }).kind).toBe("structure");
  });

  test("a tool's arguments as they are, its result out of its wrapping", () => {
    expect(run("tool", { input: "A1" }, { outputs: '{"status":"sent"}' })).toMatchObject({
      arguments: { input: "A1" },
      result: { status: "sent" },
    });
    expect(run("tool", {}, { outputs: 1, more: 2 })).toMatchObject({ result: { outputs: 1, more: 2 } });
  });
});

describe("Langfuse", () => {
  const generation = (output: Value, usage: object = {}) =>
    callOf({
      "langfuse.observation.type": "generation",
      "langfuse.observation.model.name": "tiny",
      "langfuse.observation.input": JSON.stringify(REQUEST),
      "langfuse.observation.output": output,
      "langfuse.observation.usage_details": JSON.stringify(usage),
      "session.id": "s-1",
      "user.id": "u-1",
    });

  test("tokens that are counted on their own are counted with the others", () => {
    const usage = { input: 7, output: 3, total: 15, input_cached_tokens: 3, output_reasoning_tokens: 2 };
    expect(generation("Sent.", usage)).toMatchObject({
      usage: { inputTokens: 10, outputTokens: 5 },
      conversationKey: "s-1",
      subject: "u-1",
    });
  });

  test("calls that came out of a stream in one piece are left out: none of them was made", () => {
    expect(generation(JSON.stringify({ tool_calls: [{ ...GLUED, function: { ...GLUED.function, name: "refund" } }] }))).toMatchObject({
      output: [],
    });
  });

  test.each<[string, Value]>([
    ["a text", "Sent."],
    ["a message", JSON.stringify({ role: "assistant", content: "Sent." })],
    ["a completion", JSON.stringify({ choices: [{ message: { role: "assistant", content: "Sent." } }] })],
  ])("an answer as %s", (_form, output) => {
    expect(generation(output)).toMatchObject({ output: [{ role: "assistant", parts: [{ type: "text", content: "Sent." }] }] });
  });

  test("a question as a bare text, and a tool by its span's name", () => {
    const observation = { "langfuse.observation.type": "generation", "langfuse.observation.input": "Where is A1?" };
    expect(callOf(observation)).toMatchObject({ input: [{ role: "user", parts: [{ type: "text", content: "Where is A1?" }] }] });
    const tool = {
      "langfuse.observation.type": "tool",
      "langfuse.observation.input": '{"id":"A1"}',
      "langfuse.observation.output": "sent",
    };
    expect(callOf(tool, { name: "lookup", status: { code: 2 } })).toMatchObject({
      kind: "tool",
      toolName: "lookup",
      arguments: { id: "A1" },
      result: "sent",
      isError: true,
    });
  });
});

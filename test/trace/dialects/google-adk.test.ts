import { describe, expect, test } from "vitest";
import { decodeSpans } from "../../../src/trace/decode.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import { protobuf, spanJson, traceRequest, type Value } from "../../fixtures/otlp/build.ts";

function callOf(attributes: Readonly<Record<string, Value>>, scope = "gcp.vertex.agent") {
  return normalise(decodeSpans(protobuf(traceRequest([spanJson({ attributes })], { scope })))[0]!.value, []);
}

const CHAT = { "gen_ai.operation.name": "generate_content", "gen_ai.request.model": "gemini" };
const piece = (content: string, finish_reason: string) => ({ role: "assistant", parts: [{ type: "text", content }], finish_reason });

describe("schema 2", () => {
  test("of a stream's output messages the last is the answer", () => {
    const output = [piece("Deli", ""), piece("vered.", ""), piece("Delivered.", "stop")];
    expect(callOf({ ...CHAT, "gen_ai.output.messages": JSON.stringify(output) })).toMatchObject({
      dialect: "google-adk+genai",
      output: [{ role: "assistant", parts: [{ type: "text", content: "Delivered." }] }],
    });
  });

  test("of a stream that was cut the answer is what came", () => {
    const output = [piece("It was ", ""), piece("deli", "")];
    expect(callOf({ ...CHAT, "gen_ai.output.messages": JSON.stringify(output) })).toMatchObject({
      output: [{ role: "assistant", parts: [{ type: "text", content: "It was deli" }] }],
    });
  });

  test("pieces that hold an address only together are not put together", () => {
    const output = [piece("ada@exa", ""), piece("mple.com", "")];
    const call = callOf({ ...CHAT, "gen_ai.output.messages": JSON.stringify(output) });
    expect(call.damage).toEqual(["pii_unredacted"]);
    expect(JSON.stringify((call as { output?: unknown }).output)).not.toContain("ada@example.com");
  });

  test("several answers of anybody else stay several", () => {
    const output = [piece("One.", "stop"), piece("Two.", "stop")];
    const call = callOf({ ...CHAT, "gen_ai.output.messages": JSON.stringify(output) }, "somebody");
    expect(call).toMatchObject({ dialect: "genai", output: [{ parts: [{ content: "One." }] }, { parts: [{ content: "Two." }] }] });
  });

  test("the span around parallel executions is no execution", () => {
    expect(callOf({ "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "(merged tools)" }).kind).toBe("structure");
  });
});

describe("schema 1", () => {
  const request = {
    model: "gemini",
    config: {
      system_instruction: { parts: [{ text: "Be brief." }] },
      temperature: 0.5,
      max_output_tokens: 9,
      tools: [
        {
          function_declarations: [
            { name: "lookup", parameters: { type: "OBJECT", properties: { id: { type: "STRING" }, type: { type: "STRING" } } } },
          ],
        },
      ],
    },
    contents: [
      { role: "user", parts: [{ text: "Where is it?" }] },
      { role: "model", parts: [{ text: "hm", thought: true }, { function_call: { id: "c1", name: "lookup", args: { id: "A1" } } }] },
      { role: "user", parts: [{ function_response: { id: "c1", name: "lookup", response: { status: "sent" } } }, { text: "And?" }] },
    ],
  };

  test("Gemini's contents, schemas and parameters", () => {
    const call = callOf({
      "gen_ai.system": "gcp.vertex.agent",
      "gcp.vertex.agent.llm_request": JSON.stringify(request),
      "gcp.vertex.agent.llm_response": JSON.stringify({
        content: { role: "model", parts: [{ text: "Sent." }] },
        finish_reason: "STOP",
        model_version: "gemini-9",
        usage_metadata: { prompt_token_count: 5, candidates_token_count: 2 },
      }),
    });
    expect(call).toMatchObject({
      kind: "inference",
      dialect: "google-adk",
      input: [
        { role: "system", parts: [{ type: "text", content: "Be brief." }] },
        { role: "user", parts: [{ type: "text", content: "Where is it?" }] },
        {
          role: "assistant",
          parts: [
            { type: "reasoning", content: "hm" },
            { type: "tool_call", id: "c1", name: "lookup", arguments: { id: "A1" } },
          ],
        },
        { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: { status: "sent" } }] },
        { role: "user", parts: [{ type: "text", content: "And?" }] },
      ],
      output: [{ role: "assistant", parts: [{ type: "text", content: "Sent." }] }],
      // A property that is called `type` is none.
      tools: [{ name: "lookup", parameters: { type: "object", properties: { id: { type: "string" }, type: { type: "string" } } } }],
      sampling: { temperature: 0.5, maxTokens: 9 },
      usage: { inputTokens: 5, outputTokens: 2 },
      responseModel: "gemini-9",
      finishReasons: ["STOP"],
    });
  });

  test("a request that was cut is damage, and a placeholder is nothing", () => {
    const cut = JSON.stringify(request).slice(0, 80);
    expect(callOf({ "gcp.vertex.agent.llm_request": cut, "gcp.vertex.agent.llm_response": "{}" })).toMatchObject({
      kind: "inference",
      damage: ["truncated_json"],
      input: [],
      output: [],
    });
  });
});

import { describe, expect, test } from "vitest";
import { ASSIGNMENT_SPAN } from "../../src/telemetry.ts";
import { completion, sendJson, startUpstream } from "./fake-upstream.ts";
import { BASE, CANDIDATE, experiment, startGateway } from "./gateway-fixture.ts";

/** One call through the gateway; returns the span that it left. */
async function spanOf(call: {
  path?: string;
  body: Record<string, unknown>;
  headers?: Record<string, string>;
  answer: unknown;
  weight?: number;
}) {
  const upstream = await startUpstream((_request, response) => {
    if (typeof call.answer !== "string") return sendJson(response, call.answer);
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" }).end(call.answer);
  });
  await using gateway = await startGateway({
    upstreams: [upstream],
    ...(call.weight === undefined ? {} : { routes: experiment(call.weight) }),
  });
  const answer = await fetch(gateway.url + (call.path ?? "/v1/chat/completions"), {
    method: "POST",
    headers: { "x-trajectory-id": "trajectory-1", ...call.headers },
    body: JSON.stringify({ model: "shop-model", ...call.body }),
  });
  await answer.arrayBuffer();
  const spans = (await gateway.spans()).filter(({ name }) => name !== ASSIGNMENT_SPAN);
  await upstream.close();
  expect(spans.length).toBe(1);
  const [span] = spans;
  if (span === undefined) throw new Error("no span");
  return span;
}
const json = (value: unknown) => JSON.parse(String(value)) as unknown;
const events = (...list: unknown[]) => list.map((data) => `event: x\ndata: ${JSON.stringify(data)}\n\n`).join("");

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const CALLER_SPAN_ID = "b7ad6b7169203331";

describe("the span of a live call", () => {
  test("holds both sides in canonical parts, the assignment and the digest that answered", async () => {
    const span = await spanOf({
      weight: 1,
      headers: { traceparent: `00-${TRACE_ID}-${CALLER_SPAN_ID}-00`, "x-session-id": "session-1" },
      body: {
        messages: [
          { role: "system", content: "You are a shop." },
          {
            role: "user",
            name: "ann",
            content: [
              { type: "text", text: "Where is A1234?" },
              { type: "image_url", image_url: { url: "u" } },
            ],
          },
          {
            role: "assistant",
            content: null,
            tool_calls: [{ id: "c1", type: "function", function: { name: "lookup_order", arguments: '{"id":"A1234"}' } }],
          },
          { role: "tool", tool_call_id: "c1", content: '{"status":"sent"}' },
          { role: "tool", tool_call_id: "c2", content: "42" },
        ],
        tools: [{ type: "function", function: { name: "lookup_order", description: "d", parameters: { type: "object" } } }],
        temperature: 0.7,
        top_p: 0.9,
        max_completion_tokens: 64,
        seed: 5,
        stop: ["END"],
      },
      answer: {
        ...completion("whatever"),
        choices: [{ index: 0, message: { role: "assistant", reasoning_content: "hm", content: "Sent." }, finish_reason: "stop" }],
        usage: { prompt_tokens: 7, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 4 } },
      },
    });
    expect(span.name).toBe("chat shop-model");
    expect(span.kind).toBe(3);
    expect(span.scope.name).toBe("nightshift.gateway");
    expect(span.resource).toEqual({ "service.name": "shop-agent" });
    expect(span.traceId).toBe(TRACE_ID);
    expect(span.parentSpanId).toBe(CALLER_SPAN_ID);
    const {
      "gen_ai.input.messages": input,
      "gen_ai.output.messages": output,
      "gen_ai.tool.definitions": tools,
      "gen_ai.response.time_to_first_chunk": firstChunk,
      ...rest
    } = span.attributes;
    expect(json(input)).toEqual([
      { role: "system", parts: [{ type: "text", content: "You are a shop." }] },
      {
        role: "user",
        name: "ann",
        parts: [
          { type: "text", content: "Where is A1234?" },
          { type: "image_url", image_url: { url: "u" } },
        ],
      },
      { role: "assistant", parts: [{ type: "tool_call", id: "c1", name: "lookup_order", arguments: { id: "A1234" } }] },
      { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: { status: "sent" } }] },
      { role: "tool", parts: [{ type: "tool_call_response", id: "c2", response: "42" }] },
    ]);
    expect(json(output)).toEqual([
      {
        role: "assistant",
        parts: [
          { type: "reasoning", content: "hm" },
          { type: "text", content: "Sent." },
        ],
      },
    ]);
    expect(json(tools)).toEqual([{ type: "function", name: "lookup_order", description: "d", parameters: { type: "object" } }]);
    expect(firstChunk).toBeGreaterThan(0);
    expect(rest).toEqual({
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "openai",
      "gen_ai.request.model": "shop-model",
      "gen_ai.response.model": "whatever",
      "gen_ai.response.id": "chatcmpl-1",
      "gen_ai.response.finish_reasons": ["stop"],
      "gen_ai.usage.input_tokens": 7,
      "gen_ai.usage.output_tokens": 2,
      "gen_ai.usage.cache_read.input_tokens": 4,
      "gen_ai.conversation.id": "session-1",
      "gen_ai.request.max_tokens": 64,
      "gen_ai.request.temperature": 0.7,
      "gen_ai.request.top_p": 0.9,
      "gen_ai.request.seed": 5,
      "gen_ai.request.stop_sequences": ["END"],
      "nightshift.adapter": CANDIDATE.digest,
      "nightshift.adapter.name": CANDIDATE.name,
      "nightshift.assignment.key": "trajectory-1",
      "nightshift.assignment.weak_key": false,
      "nightshift.assignment.arm": "candidate",
      "nightshift.assignment.probability": 1,
      "nightshift.experiment.id": "exp-1",
      "nightshift.route.version": 1,
    });
  });

  test("of Anthropic's messages, streamed, counts cached tokens in", async () => {
    const span = await spanOf({
      path: "/v1/messages",
      body: {
        system: "You are a shop.",
        max_tokens: 9,
        messages: [
          {
            role: "user",
            content: [
              { type: "tool_result", tool_use_id: "t0", content: [{ type: "text", text: "gone" }] },
              { type: "text", text: "And?" },
            ],
          },
        ],
        tools: [{ name: "f", input_schema: { type: "object" } }],
      },
      answer: events(
        {
          type: "message_start",
          message: { id: "msg-1", model: "m", usage: { input_tokens: 3, cache_read_input_tokens: 10, output_tokens: 1 } },
        },
        { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
        { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "One " } },
        { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "moment" } },
        { type: "content_block_start", index: 1, content_block: { type: "tool_use", id: "t1", name: "f", input: {} } },
        { type: "content_block_delta", index: 1, delta: { type: "input_json_delta", partial_json: '{"a"' } },
        { type: "content_block_delta", index: 1, delta: { type: "input_json_delta", partial_json: ":1}" } },
        { type: "message_delta", delta: { stop_reason: "tool_use" }, usage: { output_tokens: 12 } },
      ),
    });
    expect(json(span.attributes["gen_ai.input.messages"])).toEqual([
      { role: "system", parts: [{ type: "text", content: "You are a shop." }] },
      {
        role: "user",
        parts: [
          { type: "tool_call_response", id: "t0", response: "gone" },
          { type: "text", content: "And?" },
        ],
      },
    ]);
    expect(json(span.attributes["gen_ai.output.messages"])).toEqual([
      {
        role: "assistant",
        parts: [
          { type: "text", content: "One moment" },
          { type: "tool_call", id: "t1", name: "f", arguments: { a: 1 } },
        ],
      },
    ]);
    expect(json(span.attributes["gen_ai.tool.definitions"])).toEqual([{ type: "function", name: "f", parameters: { type: "object" } }]);
    expect(span.attributes).toMatchObject({
      "gen_ai.provider.name": "anthropic",
      "gen_ai.response.id": "msg-1",
      "gen_ai.response.finish_reasons": ["tool_use"],
      "gen_ai.usage.input_tokens": 13,
      "gen_ai.usage.output_tokens": 12,
      "gen_ai.request.max_tokens": 9,
    });
  });

  const response = {
    id: "resp-1",
    model: "m",
    status: "completed",
    output: [
      { type: "reasoning", summary: [{ type: "summary_text", text: "hm" }] },
      { type: "function_call", call_id: "c1", name: "f", arguments: '{"a":1}' },
    ],
    usage: { input_tokens: 5, output_tokens: 6, output_tokens_details: { reasoning_tokens: 2 } },
  };
  test.each([
    { how: "whole", answer: response as unknown },
    {
      how: "streamed",
      answer: events({ type: "response.created", response: { id: "resp-1", output: [] } }, { type: "response.completed", response }),
    },
  ])("of the Responses API, $how", async ({ answer }) => {
    const span = await spanOf({
      path: "/v1/responses",
      body: {
        instructions: "Be kind.",
        input: [
          { role: "user", content: [{ type: "input_text", text: "hi" }] },
          { type: "function_call_output", call_id: "c0", output: "no" },
        ],
      },
      answer,
    });
    expect(json(span.attributes["gen_ai.input.messages"])).toEqual([
      { role: "system", parts: [{ type: "text", content: "Be kind." }] },
      { role: "user", parts: [{ type: "text", content: "hi" }] },
      { role: "tool", parts: [{ type: "tool_call_response", id: "c0", response: "no" }] },
    ]);
    expect(json(span.attributes["gen_ai.output.messages"])).toEqual([
      {
        role: "assistant",
        parts: [
          { type: "reasoning", content: "hm" },
          { type: "tool_call", id: "c1", name: "f", arguments: { a: 1 } },
        ],
      },
    ]);
    expect(span.attributes).toMatchObject({
      "gen_ai.usage.input_tokens": 5,
      "gen_ai.usage.reasoning.output_tokens": 2,
      "gen_ai.response.finish_reasons": ["tool_calls"],
    });
  });

  test.each([
    { how: "whole", answer: { id: "cmpl-1", choices: [{ index: 0, text: "one two", finish_reason: "length" }] } as unknown },
    {
      how: "streamed",
      answer: events(
        { id: "cmpl-1", choices: [{ index: 0, text: "one " }] },
        { choices: [{ index: 0, text: "two", finish_reason: "length" }] },
      ),
    },
  ])("of a text completion, $how", async ({ answer }) => {
    const span = await spanOf({ path: "/v1/completions", body: { prompt: "count" }, answer });
    expect(span.name).toBe("text_completion shop-model");
    expect(json(span.attributes["gen_ai.input.messages"])).toEqual([{ role: "user", parts: [{ type: "text", content: "count" }] }]);
    expect(json(span.attributes["gen_ai.output.messages"])).toEqual([{ role: "assistant", parts: [{ type: "text", content: "one two" }] }]);
    expect(span.attributes["gen_ai.response.finish_reasons"]).toEqual(["length"]);
  });

  test("outside an experiment names no experiment, and the base's digest", async () => {
    const span = await spanOf({ body: { messages: [] }, answer: completion("base") });
    expect(span.attributes).toMatchObject({
      "nightshift.adapter": BASE.digest,
      "nightshift.assignment.arm": "stable",
      "nightshift.assignment.probability": 0,
    });
    expect(span.attributes["nightshift.experiment.id"]).toBeUndefined();
    expect(span.parentSpanId).toBeNull();
  });

  test.each([
    {
      what: "messages of another shape",
      body: { messages: "nonsense", tools: [null, { function: 3 }] },
      answer: { choices: [null, { message: [] }], usage: "no" } as unknown,
    },
    { what: "a stream of nonsense", body: { messages: [{}] }, answer: "data: {broken\n\ndata: [1]\n\n" },
    { what: "a stream with an absurd index", body: { messages: [{}] }, answer: events({ choices: [{ index: 1e9, delta: {} }] }) },
  ])("of $what is emitted all the same", async ({ body, answer }) => {
    expect((await spanOf({ body, answer })).attributes["gen_ai.operation.name"]).toBe("chat");
  });

  test("of an answer too long to keep has no output, and the answer is whole", async () => {
    const long = completion("base", "x".repeat(5 * 1024 * 1024));
    const span = await spanOf({ body: { messages: [] }, answer: long });
    expect(span.attributes["gen_ai.output.messages"]).toBeUndefined();
    expect(span.attributes["nightshift.adapter"]).toBe(BASE.digest);
  });
});

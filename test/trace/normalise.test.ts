import { describe, expect, test } from "vitest";
import { decodeLogs, decodeSpans } from "../../src/trace/decode.ts";
import { normalise } from "../../src/trace/normalise.ts";
import { attributes, logJson, logRequest, protobuf, spanJson, traceRequest, type SpanSpec, type Value } from "../fixtures/otlp/build.ts";

const spanOf = (spec: SpanSpec, resource?: Readonly<Record<string, Value>>) =>
  decodeSpans(protobuf(traceRequest([spanJson(spec)], resource === undefined ? {} : { resource })))[0]!.value;
const callOf = (attributes: Readonly<Record<string, Value>>, spec: SpanSpec = {}) => normalise(spanOf({ ...spec, attributes }), []);
const logsOf = (...records: object[]) => decodeLogs(protobuf(logRequest(records), "logs")).map(({ value }) => value);

const INPUT = [
  { role: "user", parts: [{ type: "text", content: "Where is A1234?" }] },
  { role: "assistant", parts: [{ type: "tool_call", id: "c1", name: "lookup", arguments: { id: "A1234" } }] },
  { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: { status: "delivered" } }] },
];
const OUTPUT = [{ role: "assistant", parts: [{ type: "text", content: "Delivered." }] }];
const CHAT = { "gen_ai.operation.name": "chat", "gen_ai.request.model": "tiny" };

/** As the gateway writes it. */
const GATEWAY = {
  ...CHAT,
  "gen_ai.provider.name": "openai",
  "gen_ai.response.model": "tiny:c1",
  "gen_ai.response.id": "r-1",
  "gen_ai.response.finish_reasons": ["stop"],
  "gen_ai.usage.input_tokens": 12,
  "gen_ai.usage.output_tokens": 3,
  "gen_ai.request.temperature": 0.7,
  "gen_ai.conversation.id": "s-1",
  "gen_ai.agent.name": "support",
  "gen_ai.system_instructions": JSON.stringify([{ type: "text", content: "Be brief." }]),
  "gen_ai.input.messages": JSON.stringify(INPUT),
  "gen_ai.output.messages": JSON.stringify(OUTPUT),
  "gen_ai.tool.definitions": JSON.stringify([{ type: "function", name: "lookup", parameters: { type: "object" } }]),
  "nightshift.adapter": "sha256:ab",
  "nightshift.assignment.key": "s-1",
  "nightshift.assignment.arm": "candidate",
  "nightshift.assignment.probability": 0.05,
  "nightshift.assignment.weak_key": false,
  "nightshift.experiment.id": "e-1",
  "nightshift.route.version": 7,
  "nightshift.consent": true,
};

test("the gateway's span, with who served it and why", () => {
  expect(callOf(GATEWAY)).toMatchObject({
    kind: "inference",
    dialect: "genai",
    damage: [],
    conversationKey: "s-1",
    agentName: "support",
    consent: true,
    input: [{ role: "system", parts: [{ type: "text", content: "Be brief." }] }, ...INPUT],
    output: OUTPUT,
    tools: [{ name: "lookup", parameters: { type: "object" } }],
    usage: { inputTokens: 12, outputTokens: 3 },
    sampling: { temperature: 0.7 },
    finishReasons: ["stop"],
    adapterDigest: "sha256:ab",
    assignment: { experimentId: "e-1", key: "s-1", weakKey: false, arm: "candidate", probability: 0.05, routeVersion: 7 },
  });
});

describe("one message, many spellings", () => {
  test.each<[string, Value]>([
    ["a structured attribute", INPUT],
    [
      "arguments and responses as JSON strings",
      [
        INPUT[0],
        { role: "assistant", parts: [{ type: "tool_call", id: "c1", name: "lookup", arguments: '{"id":"A1234"}' }] },
        { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: '{"status":"delivered"}' }] },
      ] as never,
    ],
    [
      "`result` for `response`",
      JSON.stringify([
        INPUT[0],
        INPUT[1],
        { role: "tool", parts: [{ type: "tool_call_response", id: "c1", result: { status: "delivered" } }] },
      ]),
    ],
    [
      "OpenAI's own form",
      JSON.stringify([
        { role: "user", content: [{ type: "text", text: "Where is A1234?" }] },
        {
          role: "assistant",
          content: null,
          tool_calls: [{ id: "c1", type: "function", function: { name: "lookup", arguments: '{"id":"A1234"}' } }],
        },
        { role: "tool", tool_call_id: "c1", content: '{"status":"delivered"}' },
      ]),
    ],
  ])("%s", (_name, value) => {
    const call = callOf({ ...CHAT, "gen_ai.input.messages": value });
    expect(JSON.parse(JSON.stringify((call as { input: unknown }).input))).toMatchObject(INPUT);
  });
});

test("content on the details event instead of the span", () => {
  const event = logJson("gen_ai.client.inference.operation.details", null, {
    attributes: attributes({ "gen_ai.input.messages": INPUT, "gen_ai.output.messages": OUTPUT }),
  });
  expect(normalise(spanOf({ attributes: CHAT }), logsOf(event))).toMatchObject({ input: INPUT, output: OUTPUT });
});

test("tools and agents: execute_tool, invoke_agent, and OpenInference's TOOL", () => {
  const tool = { "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup", "gen_ai.tool.call.id": "c1" };
  const args = { "gen_ai.tool.call.arguments": '{"id":"A1234"}', "gen_ai.tool.call.result": { error: "gone" } };
  const expected = {
    kind: "tool",
    toolName: "lookup",
    toolCallId: "c1",
    arguments: { id: "A1234" },
    result: { error: "gone" },
    isError: true,
  };
  expect(callOf({ ...tool, ...args, "error.type": "NotFound" })).toMatchObject({ ...expected, errorType: "NotFound" });
  const inference = { "openinference.span.kind": "TOOL", "tool.name": "lookup", "tool.id": "c1" };
  const values = { "input.value": '{"id":"A1234"}', "output.value": '{"error":"gone"}' };
  expect(callOf({ ...inference, ...values }, { status: { code: 2 } })).toMatchObject(expected);
  expect(callOf({ "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support" })).toMatchObject({
    kind: "structure",
    agentName: "support",
  });
  expect(callOf({ "openinference.span.kind": "CHAIN" })).toMatchObject({ kind: "structure", dialect: "openinference" });
});

test("two dialects on one span: field by field, the more specific first", () => {
  const call = callOf({
    ...CHAT,
    "gen_ai.response.id": "r-1",
    "gen_ai.input.messages": JSON.stringify(INPUT.slice(0, 1)),
    "openinference.span.kind": "LLM",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "Delivered.",
  });
  expect(call).toMatchObject({ dialect: "openinference+genai", responseId: "r-1", input: INPUT.slice(0, 1), output: OUTPUT });
});

describe("damage is named, never thrown", () => {
  test.each<[string, Readonly<Record<string, Value>>, SpanSpec, string[]]>([
    [
      "JSON cut off by a length limit",
      { ...CHAT, "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"te' },
      {},
      ["truncated_json"],
    ],
    ["parameters cut off", { "openinference.span.kind": "LLM", "llm.invocation_parameters": '{"temperature": 0.' }, {}, ["truncated_json"]],
    ["dropped attributes", CHAT, { droppedAttributesCount: 3 }, ["dropped_attributes"]],
    ["dropped events", CHAT, { droppedEventsCount: 1 }, ["dropped_events"]],
    ["dropped marks of a stream's chunks", CHAT, { droppedEventsCount: 9, events: [{ name: "gen_ai.content.completion.chunk" }] }, []],
    [
      "dropped events among which only some are such marks",
      CHAT,
      { droppedEventsCount: 9, events: [{ name: "gen_ai.content.completion.chunk" }, { name: "gen_ai.user.message" }] },
      ["dropped_events"],
    ],
    ["text that only begins like a list", { ...CHAT, "gen_ai.input.messages": "[note] hello" }, {}, []],
  ])("%s", (_name, values, spec, damage) => {
    expect(callOf(values, spec).damage).toEqual(damage);
  });
});

describe("hostile attributes", () => {
  const llm = { "openinference.span.kind": "LLM" };
  const message = (index: number | string) => ({
    [`llm.input_messages.${index}.message.role`]: "user",
    [`llm.input_messages.${index}.message.content`]: "hi",
  });

  test("an enormous index costs one entry", () => {
    expect(callOf({ ...llm, ...message(99_999_999) })).toMatchObject({
      input: [{ role: "user", parts: [{ type: "text", content: "hi" }] }],
    });
  });

  test("indices over the budget are left out and said so", () => {
    const many = Object.fromEntries(Array.from({ length: 10_050 }, (_, index) => [`llm.input_messages.${index}.message.content`, "hi"]));
    const call = callOf({ ...llm, ...many });
    expect(call.damage).toEqual(["dropped_attributes"]);
    expect(call).toHaveProperty("input.length", 10_000);
  });

  test("prototype keys and endless paths go nowhere", () => {
    const call = callOf({
      ...llm,
      "llm.input_messages.__proto__.message.content": "x",
      "llm.input_messages.0.__proto__.polluted": "x",
      [`llm.input_messages.0.${"a.".repeat(50)}b`]: "x",
      "gen_ai.operation.name": "chat",
      "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"hi","__proto__":{"polluted":1}}]}]',
    });
    expect(call).toMatchObject({ input: [{ role: "user", parts: [{ type: "text", content: "hi" }] }] });
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

test.each([
  [{ "nightshift.consent": "false" }, false],
  [{ "nightshift.consent": "allow" }, true],
  [{ "nightshift.consent": "maybe" }, false],
  [{}, null],
])("consent %j is %s", (values, expected) => {
  expect(callOf({ ...CHAT, ...values }).consent).toBe(expected);
});

test("who and where: span first, resource second", () => {
  const span = spanOf({ attributes: { ...CHAT, "session.id": "s-2" } }, { "service.name": "shop", "user.id": "u-1", "session.id": "s-1" });
  expect(normalise(span, [])).toMatchObject({ serviceName: "shop", subject: "u-1", conversationKey: "s-2" });
});

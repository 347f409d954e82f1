import { describe, expect, test } from "vitest";
import { decodeSpans } from "../../../src/trace/decode.ts";
import { normalise } from "../../../src/trace/normalise.ts";
import { attributes, protobuf, spanJson, traceRequest, type Value } from "../../fixtures/otlp/build.ts";

type Event = readonly [name: string, values: Readonly<Record<string, Value>>];

function callOf(operation: string | null, events: readonly Event[], status = {}) {
  const spec = {
    attributes: operation === null ? {} : { "gen_ai.operation.name": operation },
    events: events.map(([name, values], index) => ({ name, timeUnixNano: String(index + 1), attributes: attributes(values) })),
    status,
  };
  return normalise(decodeSpans(protobuf(traceRequest([spanJson(spec)])))[0]!.value, []);
}

const text = (role: string, content: string) => ({ role, parts: [{ type: "text", content }] });
const CALL = { type: "tool_call", id: "c1", name: "lookup", arguments: { id: "A1" } };
const ANSWER = { type: "tool_call_response", id: "c1", response: { status: "sent" } };
const SAID = {
  kind: "inference",
  input: [
    text("system", "Be brief."),
    text("user", "Where is A1?"),
    { role: "assistant", parts: [CALL] },
    { role: "tool", parts: [ANSWER] },
  ],
  output: [text("assistant", "It was sent.")],
  finishReasons: ["stop"],
  damage: [],
};

describe("one conversation in the three ways to write it", () => {
  test("content blocks, as JSON in strings (Strands)", () => {
    const use = { toolUse: { toolUseId: "c1", name: "lookup", input: { id: "A1" } } };
    const result = { toolResult: { toolUseId: "c1", status: "success", content: [{ json: { status: "sent" } }] } };
    const call = callOf("chat", [
      ["gen_ai.system.message", { content: '[{"text":"Be brief."}]' }],
      ["gen_ai.user.message", { content: '[{"text":"Where is A1?"}]' }],
      ["gen_ai.assistant.message", { content: JSON.stringify([use]) }],
      ["gen_ai.tool.message", { content: JSON.stringify([result]) }],
      ["gen_ai.choice", { message: '[{"text":"It was sent."}]', finish_reason: "stop" }],
    ]);
    expect(call).toMatchObject({ ...SAID, dialect: "span-events" });
  });

  test("one attribute with the whole message (Azure AI)", () => {
    const calls = [{ id: "c1", type: "function", function: { name: "lookup", arguments: '{"id":"A1"}' } }];
    const event = (name: string, content: object): Event => [name, { "gen_ai.event.content": JSON.stringify(content) }];
    const call = callOf("chat", [
      event("gen_ai.system.message", { role: "system", content: "Be brief." }),
      event("gen_ai.user.message", { role: "user", content: "Where is A1?" }),
      event("gen_ai.assistant.message", { role: "assistant", tool_calls: calls }),
      event("gen_ai.tool.message", { role: "tool", id: "c1", content: '{"status":"sent"}' }),
      event("gen_ai.choice", { message: { role: "assistant", content: "It was sent." }, finish_reason: "stop", index: 0 }),
    ]);
    expect(call).toMatchObject(SAID);
  });

  test("all messages of a side in one event (Semantic Kernel)", () => {
    const calls = [{ id: "c1", type: "function", function: { name: "lookup", arguments: '{"id":"A1"}' } }];
    const prompt = [
      { role: "system", content: "Be brief." },
      { role: "user", content: "Where is A1?" },
      { role: "assistant", content: null, tool_calls: calls },
      { role: "tool", tool_call_id: "c1", content: '{"status":"sent"}' },
    ];
    const call = callOf("chat", [
      ["gen_ai.content.prompt", { "gen_ai.prompt": JSON.stringify(prompt) }],
      ["gen_ai.content.completion", { "gen_ai.completion": '[{"role":"assistant","content":"It was sent."}]' }],
    ]);
    expect(call).toMatchObject({ ...SAID, finishReasons: [] });
  });
});

test("a text that looks like JSON is what was said", () => {
  const said = ['{"id": "A1"}', "[1, 2]", '"quoted", he said', "17"];
  const call = callOf(
    "chat",
    said.map((content) => ["gen_ai.user.message", { content }]),
  );
  expect(call).toMatchObject({ input: said.map((content) => text("user", content)), damage: [] });
});

test("several tool answers in one message are a message each", () => {
  const result = (id: string, content: object[]) => ({ toolResult: { toolUseId: id, status: "success", content } });
  const content = JSON.stringify([result("c1", [{ json: { status: "sent" } }]), result("c2", [{ text: "one " }, { json: { two: 2 } }])]);
  expect(callOf("chat", [["gen_ai.tool.message", { content }]])).toMatchObject({
    input: [
      { role: "tool", parts: [ANSWER] },
      { role: "tool", parts: [{ type: "tool_call_response", id: "c2", response: 'one {"two":2}' }] },
    ],
  });
});

test("a tool's span: what was asked, and what it answered", () => {
  const events: Event[] = [
    ["gen_ai.tool.message", { role: "tool", id: "c1", content: '{"id":"A1"}' }],
    ["gen_ai.choice", { id: "c1", message: '[{"text":"Error: gone"}]' }],
  ];
  expect(callOf("execute_tool", events, { code: 2 })).toMatchObject({
    kind: "tool",
    arguments: { id: "A1" },
    result: "Error: gone",
    isError: true,
  });
});

test("agents and loop cycles repeat the events, and are no model calls", () => {
  const events: Event[] = [
    ["gen_ai.user.message", { content: '[{"text":"Where is A1?"}]' }],
    ["gen_ai.choice", { message: "It was sent." }],
  ];
  for (const operation of ["invoke_agent", null, "constructor"]) expect(callOf(operation, events).kind).toBe("structure");
});

test("a message that was cut is left out and named", () => {
  const call = callOf("chat", [
    ["gen_ai.user.message", { content: '[{"text":"Where is A1?"}]' }],
    ["gen_ai.choice", { message: '[{"text":"It was se' }],
  ]);
  expect(call).toMatchObject({ input: [text("user", "Where is A1?")], output: [], damage: ["truncated_json"] });
});

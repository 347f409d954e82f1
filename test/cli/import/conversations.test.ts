import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { fc, test as propertyTest } from "@fast-check/vitest";
import type { Trajectory } from "../../../src/trajectory/trajectory.ts";
import { importWorld, type ImportWorld } from "./world.ts";

let world: ImportWorld;
beforeAll(async () => {
  world = await importWorld();
});
afterEach(() => world.clear());
afterAll(() => world.close());

const AT = ["--time", "2026-03-01T10:00:00Z", "--consent", "true"];
const TOOLS = [
  { type: "function", function: { name: "lookup", description: "Finds.", parameters: { type: "object", properties: { id: {} } } } },
];
const SYSTEM = { role: "system", content: "Be brief." };
const ASKED = { role: "user", content: "Where is A1?" };
const CALLING = {
  role: "assistant",
  content: null,
  tool_calls: [{ id: "c1", type: "function", function: { name: "lookup", arguments: '{"id":"A1"}' } }],
};
const FOUND = { role: "tool", tool_call_id: "c1", content: '{"at":"depot"}' };
const ANSWER = { role: "assistant", content: "At the depot." };
const LINE = { messages: [SYSTEM, ASKED, CALLING, FOUND, ANSWER], tools: TOOLS };

/** What every spelling of this one conversation must become. */
const TRANSCRIPT = [
  { role: "system", parts: [{ type: "text", content: "Be brief." }] },
  { role: "user", parts: [{ type: "text", content: "Where is A1?" }] },
  { role: "assistant", parts: [{ type: "tool_call", id: "c1", name: "lookup", arguments: { id: "A1" } }] },
  { role: "tool", parts: [{ type: "tool_call_response", id: "c1", response: { at: "depot" } }] },
  { role: "assistant", parts: [{ type: "text", content: "At the depot." }] },
];

const REQUEST = { model: "gpt-x", messages: [SYSTEM, ASKED, CALLING, FOUND], tools: TOOLS, temperature: 0.5, user: "u-7" };
const COMPLETION = {
  id: "chatcmpl-1",
  object: "chat.completion",
  created: 1_767_225_600,
  model: "gpt-x-2026",
  choices: [{ index: 0, finish_reason: "stop", message: ANSWER }],
  usage: { prompt_tokens: 40, completion_tokens: 5 },
};

async function imported(content: unknown, args: readonly string[] = AT): Promise<Trajectory[]> {
  const text = Array.isArray(content) ? content.map((line) => JSON.stringify(line)).join("\n") : JSON.stringify(content, null, 2);
  expect(await world.run([world.file("file.jsonl", text), ...args])).toMatchObject({ code: 0, err: "" });
  return world.trajectories();
}

describe("OpenAI", () => {
  test("a line of a fine-tuning file is a trainable conversation", async () => {
    const [trajectory, ...others] = await imported([LINE]);
    expect(others).toEqual([]);
    expect(trajectory).toMatchObject({ messages: TRANSCRIPT, startedAtMs: Date.parse("2026-03-01T10:00:00Z"), model: null });
    expect(trajectory?.tools).toEqual([{ name: "lookup", description: "Finds.", parameters: TOOLS[0]?.function.parameters }]);
    expect(trajectory?.verdict).toEqual({ trainable: true, reasons: [] });
  });

  test.each([
    ["a request with its response", { request: REQUEST, response: COMPLETION }],
    ["lines of a batch, joined", { custom_id: "1", body: REQUEST, response: { status_code: 200, body: COMPLETION } }],
    ["a stored completion with its messages", { ...COMPLETION, ...REQUEST, object: "chat.completion" }],
    ["a page of them", { object: "list", data: [{ request: REQUEST, response: COMPLETION }] }],
  ])("%s keeps model, time, user and usage", async (_, content) => {
    const [trajectory] = await imported(content);
    expect(trajectory).toMatchObject({
      messages: TRANSCRIPT,
      model: "gpt-x",
      subject: "u-7",
      startedAtMs: 1_767_225_600_000,
      sampling: { temperature: 0.5 },
      usage: { inputTokens: 40, outputTokens: 5, calls: 1 },
      responseIds: ["chatcmpl-1"],
      verdict: { trainable: true },
    });
  });

  test("a response of the Responses API", async () => {
    const request = {
      model: "gpt-x",
      instructions: "Be brief.",
      input: [
        ASKED,
        { type: "function_call", call_id: "c1", name: "lookup", arguments: '{"id":"A1"}' },
        { type: "function_call_output", call_id: "c1", output: '{"at":"depot"}' },
      ],
      tools: [{ type: "function", name: "lookup", parameters: { type: "object" } }],
    };
    const output = [{ type: "message", role: "assistant", content: [{ type: "output_text", text: "At the depot." }] }];
    const [trajectory] = await imported({
      request,
      response: { object: "response", id: "resp_1", status: "completed", created_at: 1_767_225_600, output },
    });
    expect(trajectory).toMatchObject({ messages: TRANSCRIPT, responseIds: ["resp_1"] });
  });

  test("calls of one session are one conversation", async () => {
    const session = { metadata: { session_id: "s-1" } };
    const first = {
      request: { ...REQUEST, messages: [SYSTEM, ASKED] },
      response: { ...COMPLETION, id: "1", choices: [{ message: CALLING }] },
      ...session,
    };
    const second = { request: REQUEST, response: { ...COMPLETION, id: "2", created: COMPLETION.created + 2 }, ...session };
    const [trajectory, ...others] = await imported([second, first]);
    expect(others).toEqual([]);
    expect(trajectory).toMatchObject({ conversationKey: "s-1", messages: TRANSCRIPT, responseIds: ["1", "2"] });
  });

  test("function calls from before tools had ids are paired with their results", async () => {
    const { messages } = LINE;
    const old = [
      ...messages.slice(0, 2),
      { role: "assistant", content: null, function_call: { name: "lookup", arguments: '{"id":"A1"}' } },
      { role: "function", name: "lookup", content: '{"at":"depot"}' },
      ANSWER,
    ];
    const [trajectory] = await imported([{ messages: old, functions: [TOOLS[0]?.function] }]);
    expect(trajectory?.messages.map(({ role }) => role)).toEqual(TRANSCRIPT.map(({ role }) => role));
    expect(trajectory?.verdict.reasons).toEqual([]);
  });

  test("a conversation without its answer is kept, with the reason", async () => {
    const [trajectory] = await imported([{ messages: [SYSTEM, ASKED] }]);
    expect(trajectory?.verdict.reasons).toEqual(["output_missing"]);
  });
});

const TRACE = {
  id: "0af7651916cd43dd8448eb211c80319c",
  timestamp: "2026-02-01T09:00:00.000Z",
  name: "support",
  userId: "u-7",
  sessionId: "s-9",
};
const OBSERVATIONS = [
  {
    id: "a",
    type: "AGENT",
    name: "shop-agent",
    startTime: "2026-02-01T09:00:00.000Z",
    endTime: "2026-02-01T09:00:09.000Z",
    parentObservationId: null,
  },
  {
    id: "g1",
    type: "GENERATION",
    parentObservationId: "a",
    startTime: "2026-02-01T09:00:01.000Z",
    endTime: "2026-02-01T09:00:02.500Z",
    model: "gpt-x",
    modelParameters: { temperature: 0.2, max_tokens: 100 },
    usageDetails: { input: 30, output: 6, total: 36 },
    input: { messages: [SYSTEM, ASKED], tools: TOOLS },
    output: CALLING,
  },
  {
    id: "t1",
    type: "TOOL",
    name: "lookup",
    parentObservationId: "a",
    startTime: "2026-02-01T09:00:03.000Z",
    endTime: "2026-02-01T09:00:04.000Z",
    input: { id: "A1" },
    output: { tool_call_id: "c1", content: { at: "depot" } },
  },
  {
    id: "g2",
    type: "GENERATION",
    parentObservationId: "a",
    startTime: "2026-02-01T09:00:05.000Z",
    endTime: "2026-02-01T09:00:08.000Z",
    model: "gpt-x",
    usageDetails: { input: 50, output: 7, total: 57 },
    input: { messages: [SYSTEM, ASKED, CALLING, FOUND], tools: TOOLS },
    output: ANSWER,
  },
].map((observation) => ({ ...observation, traceId: TRACE.id }));

/** The columns of an export to blob storage: snake_case, input and output as text, empty text for what is not set. */
function blobRow(observation: Record<string, unknown>, trace: Record<string, unknown> = {}): Record<string, unknown> {
  const stamp = (value: unknown) => String(value).replace("T", " ").replace("Z", "000");
  const text = (value: unknown) => (value === undefined ? "" : JSON.stringify(value));
  const { input, output, modelParameters } = observation as { input?: unknown; output?: unknown; modelParameters?: unknown };
  return {
    id: observation["id"],
    trace_id: observation["traceId"],
    project_id: "p",
    type: observation["type"],
    name: observation["name"] ?? "",
    parent_observation_id: observation["parentObservationId"] ?? "",
    start_time: stamp(observation["startTime"]),
    end_time: stamp(observation["endTime"]),
    input: text(input),
    output: text(output),
    provided_model_name: observation["model"] ?? "",
    model_parameters: text(modelParameters),
    usage_details: observation["usageDetails"] ?? {},
    tool_definitions: {},
    metadata: {},
    ...trace,
  };
}

const LANGFUSE: Readonly<Record<string, unknown>> = {
  "a trace of the API": { ...TRACE, htmlPath: "/t", observations: OBSERVATIONS, scores: [] },
  "a trace as it is downloaded": { trace: TRACE, observations: OBSERVATIONS },
  "observations exported from their page, with trace rows beside them": [...OBSERVATIONS, TRACE],
  "a page of the API, and the traces": [
    { data: OBSERVATIONS, meta: { cursor: "x" } },
    { data: [TRACE], meta: {} },
  ],
  "enriched rows of blob storage": OBSERVATIONS.map((one) => blobRow(one, { user_id: "u-7", session_id: "s-9", trace_name: "support" })),
  "rows of blob storage with traces in a file of their own": [
    ...OBSERVATIONS.map((one) => blobRow(one)),
    {
      id: TRACE.id,
      timestamp: "2026-02-01 09:00:00.000000",
      name: "support",
      user_id: "u-7",
      session_id: "s-9",
      input: null,
      output: null,
    },
  ],
  "rows whose tools Langfuse has collected": OBSERVATIONS.map((one) => {
    const { input } = one as { input?: { messages?: unknown } };
    const messages = input?.messages === undefined ? input : input.messages;
    const definitions = { lookup: JSON.stringify({ description: "Finds.", parameters: TOOLS[0]?.function.parameters }) };
    return blobRow({ ...one, input: messages }, { user_id: "u-7", session_id: "s-9", tool_definitions: definitions });
  }),
};

describe("Langfuse", () => {
  test.each(Object.keys(LANGFUSE))("%s", async (name) => {
    const [trajectory, ...others] = await imported(LANGFUSE[name]);
    expect(others).toEqual([]);
    expect(trajectory).toMatchObject({
      conversationKey: "s-9",
      subject: "u-7",
      messages: TRANSCRIPT,
      model: "gpt-x",
      startedAtMs: Date.parse("2026-02-01T09:00:01Z"),
      endedAtMs: Date.parse("2026-02-01T09:00:08Z"),
      usage: { inputTokens: 80, outputTokens: 13, calls: 2 },
      toolTimings: [{ callId: "c1", startedAtMs: Date.parse("2026-02-01T09:00:03Z"), latencyMs: 1_000, isError: false }],
      verdict: { trainable: true },
    });
  });

  test("scores are feedback on what they were given to", async () => {
    const score = { id: "s", traceId: TRACE.id, timestamp: "2026-02-02T00:00:00Z", source: "ANNOTATION" };
    await imported([
      ...OBSERVATIONS,
      { ...score, name: "helpful", value: 1, dataType: "BOOLEAN", stringValue: "True", observationId: "g2" },
      { ...score, name: "stars", value: 4, dataType: "NUMERIC", comment: "polite" },
    ]);
    const rows = await world.database.kysely.selectFrom("feedback").select(["name", "target_kind", "value"]).orderBy("name").execute();
    expect(rows).toEqual([
      { name: "helpful", target_kind: "span", value: { value: true } },
      { name: "stars", target_kind: "trace", value: { value: 4, explanation: "polite" } },
    ]);
  });

  test("a generation without input and output says which fields to export", async () => {
    const bare = { id: "g", traceId: "t", type: "GENERATION", startTime: "2026-02-01T09:00:01.000Z" };
    const { code, err } = await world.run([world.file("bare.jsonl", JSON.stringify(bare))]);
    expect(code).toBe(1);
    expect(err).toMatch(
      /bare\.jsonl:1: the generation has neither input nor output: export it with its `io` fields \(received an object with id, traceId, type, startTime\)/,
    );
  });
});

const MIXED = [LINE, { messages: [SYSTEM, ASKED, ANSWER] }, { request: REQUEST, response: COMPLETION }, ...OBSERVATIONS, TRACE];

propertyTest.prop([fc.shuffledSubarray(MIXED, { minLength: MIXED.length }), fc.integer({ min: 1, max: 4 })], { numRuns: 10 })(
  "any order and split of all these lines gives the same trajectories",
  async (order, parts) => {
    await world.clear();
    const expected = await imported(MIXED);
    await world.clear();
    const size = Math.ceil(order.length / parts);
    for (let from = 0; from < order.length; from += size) {
      const part = order.slice(from, from + size).map((line) => JSON.stringify(line));
      expect((await world.run([world.file("part.jsonl", part.join("\n")), ...AT])).code).toBe(0);
    }
    expect(await world.trajectories()).toEqual(expected);
  },
);

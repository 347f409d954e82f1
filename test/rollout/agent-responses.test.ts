import OpenAI from "openai";
import type { ChatCompletionMessageParam } from "openai/resources/chat/completions";
import type { Response, ResponseInputItem, ResponseStreamEvent } from "openai/resources/responses/responses";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createAgentSession, type AgentSession } from "../../src/rollout/agent/agent-session.ts";
import { createRolloutListener, type RolloutListener, type RolloutPlace } from "../../src/rollout/agent/listener.ts";
import { readChatRequest } from "../../src/rollout/agent/chat-request.ts";
import { readResponsesRequest } from "../../src/rollout/agent/responses-request.ts";
import type { Rollout } from "../../src/rollout/group.ts";
import type { MemberPlan } from "../../src/rollout/plan.ts";
import { createReplaySession } from "../../src/rollout/replay-session.ts";
import { startOf } from "../../src/rollout/start.ts";
import type { ChatRequest } from "../../src/serving/policy-server.ts";
import { cascadeFor, conversation, lookup, policyOf, refund, type Step } from "./build.ts";
import { planOf } from "./plan.ts";
import { createScriptedPolicy, type Move } from "./scripted-policy.ts";

const turns: Step[][] = [[lookup("A1"), policyOf("lamp")], [refund("A1")]];
const recorded = conversation("talk", turns);
const system = "You work for a shop.";
const definitions = (recorded.tools ?? []).map(({ name, description, parameters }) => ({
  name,
  description,
  parameters: { ...parameters },
}));
const tokens = { promptTokenIds: [1, 2, 3], completionTokenIds: [4, 5], logprobs: [-0.5, -0.25] };
const callsOf = (steps: readonly Step[], turn: number) =>
  steps.map(({ tool, args }, at) => ({
    id: `random-${turn}-${at}`,
    type: "function" as const,
    // A model's own spacing.
    function: { name: tool, arguments: JSON.stringify(args, null, 1) },
  }));
/** Text before parallel calls, calls alone, then an answer of several pieces. */
const moves: Move[] = [
  {
    result: {
      status: "completed",
      message: { role: "assistant", content: "Let me see 🎉.", tool_calls: callsOf(turns[0]!, 0) },
      finishReason: "tool_calls",
      ...tokens,
    },
  },
  {
    result: {
      status: "completed",
      message: { role: "assistant", content: null, tool_calls: callsOf(turns[1]!, 1) },
      finishReason: "tool_calls",
      ...tokens,
    },
  },
  { reply: "It is refunded, and the money is with you within three days. 🎉" },
];

let listener: RolloutListener;
beforeAll(async () => {
  listener = createRolloutListener({ host: "127.0.0.1", port: 0 });
  await listener.start();
});
afterAll(() => listener.close());

/** A rollout with its place, and the requests that reach the policy. */
async function open(said: readonly Move[] = moves): Promise<{
  session: AgentSession;
  place: RolloutPlace;
  client: OpenAI;
  requests: ChatRequest[];
}> {
  const policy = createScriptedPolicy(
    ({ messages }) => said[messages.filter(({ role }) => role === "assistant").length] ?? { reply: "Done." },
  );
  const plan = planOf(recorded, policy, { cascade: cascadeFor([recorded]) });
  const member: MemberPlan = { ...plan, start: startOf(plan.scenario), rolloutId: "r-1", seed: 1 };
  const session = createAgentSession(member, createReplaySession(member));
  const place = await listener.open(session, { tools: plan.scenario.start.tools, ownOrigin: false });
  const client = new OpenAI({ baseURL: place.openaiBaseUrl, apiKey: place.token, maxRetries: 0 });
  return { session, place, client, requests: policy.requests };
}

async function callTool({ toolsUrl }: RolloutPlace, name: string, args: string): Promise<string> {
  return (await fetch(`${toolsUrl}/${name}`, { method: "POST", body: args })).text();
}

interface Played {
  rollout: Rollout;
  requests: ChatRequest[];
}

async function playChat(): Promise<Played> {
  const { session, place, client, requests } = await open();
  const messages: ChatCompletionMessageParam[] = [
    { role: "system", content: system },
    { role: "user", content: "help" },
  ];
  const tools = definitions.map((one) => ({ type: "function" as const, function: { ...one, description: one.description ?? "" } }));
  for (;;) {
    const { message } = (await client.chat.completions.create({ model: "shop", messages, tools, max_tokens: 32 })).choices[0]!;
    messages.push(message);
    const calls = (message.tool_calls ?? []).filter((call) => call.type === "function");
    if (calls.length === 0) break;
    for (const { id, function: asked } of calls) {
      messages.push({ role: "tool", tool_call_id: id, content: await callTool(place, asked.name, asked.arguments) });
    }
  }
  const rollout = session.finish({ status: "completed" });
  await place.close();
  return { rollout, requests };
}

async function playResponses(
  ask: (client: OpenAI, input: ResponseInputItem[]) => Promise<Response>,
): Promise<Played & { answers: Response[] }> {
  const { session, place, client, requests } = await open();
  const input: ResponseInputItem[] = [{ role: "user", content: "help" }];
  const answers: Response[] = [];
  for (;;) {
    const response = await ask(client, input);
    answers.push(response);
    input.push(...(response.output as ResponseInputItem[]));
    const calls = response.output.filter((item) => item.type === "function_call");
    if (calls.length === 0) break;
    for (const { call_id: id, name, arguments: args } of calls) {
      input.push({ type: "function_call_output", call_id: id, output: await callTool(place, name, args) });
    }
  }
  const rollout = session.finish({ status: "completed" });
  await place.close();
  return { rollout, requests, answers };
}

const tools = definitions.map((one) => ({ type: "function" as const, strict: false, ...one, description: one.description ?? "" }));
const asked = { model: "shop", instructions: system, tools, max_output_tokens: 32, store: false };
const whole = (client: OpenAI, input: ResponseInputItem[]): Promise<Response> => client.responses.create({ ...asked, input });
const streamed = async (client: OpenAI, input: ResponseInputItem[]): Promise<Response> => {
  const events: ResponseStreamEvent[] = [];
  const stream = client.responses.stream({ ...asked, input });
  for await (const event of stream) events.push(event);
  expect(events.map(({ sequence_number: at }) => at)).toEqual(events.map((_, at) => at));
  return stream.finalResponse();
};

describe.each([
  ["whole", whole],
  ["streamed", streamed],
])("an agent that asks by the Responses API, %s", (_, ask) => {
  test("makes the rollout, byte for byte, of one that asks by chat completions", async () => {
    const [byChat, byResponses] = [await playChat(), await playResponses(ask)];
    expect(byResponses.requests).toEqual(byChat.requests);
    expect(byResponses.rollout).toEqual(byChat.rollout);
    expect(byChat.rollout).toMatchObject({ end: { status: "completed" }, calls: [{}, {}, {}] });
    expect(byChat.rollout.journal.map(({ tool, rung }) => `${tool} ${rung}`)).toEqual([
      "lookup_order R1",
      "refund_policy R0",
      "issue_refund R1",
    ]);
  });

  test("reads texts, calls, usage and status as OpenAI's client has them", async () => {
    const { answers } = await playResponses(ask);
    expect(answers.map(({ output }) => output.map(({ type }) => type))).toEqual([
      ["message", "function_call", "function_call"],
      ["function_call"],
      ["message"],
    ]);
    const [first, , last] = answers;
    expect(first?.output.filter((item) => item.type === "function_call")).toMatchObject(
      callsOf(turns[0]!, 0).map(({ function: call }, at) => ({ call_id: `call_0_${at}`, name: call.name, arguments: call.arguments })),
    );
    expect(first).toMatchObject({ object: "response", status: "completed", usage: { input_tokens: 3, output_tokens: 2, total_tokens: 5 } });
    const text = last?.output.flatMap((item) => (item.type === "message" ? item.content : []));
    expect(text).toMatchObject([{ type: "output_text", text: (moves[2] as { reply: string }).reply }]);
  });
});

test("an answer that was cut is incomplete, whole and streamed", async () => {
  const cut: Move = {
    result: { status: "completed", message: { role: "assistant", content: "It is" }, finishReason: "length", ...tokens },
  };
  for (const ask of [whole, streamed]) {
    const { client, place } = await open([cut]);
    const response = await ask(client, [{ role: "user", content: "help" }]);
    expect([response.status, response.incomplete_details]).toEqual(["incomplete", { reason: "max_output_tokens" }]);
    await place.close();
  }
});

test("an empty answer stays a turn of the next request", async () => {
  const { client, place, requests } = await open([{ reply: "" }]);
  const { output } = await whole(client, [{ role: "user", content: "help" }]);
  await whole(client, [{ role: "user", content: "help" }, ...(output as ResponseInputItem[]), { role: "user", content: "hello?" }]);
  expect(requests[1]?.messages.map(({ role, content }) => [role, content])).toEqual([
    ["system", system],
    ["user", "help"],
    ["assistant", ""],
    ["user", "hello?"],
  ]);
  await place.close();
});

describe("a request of the Responses API", () => {
  const call = (id: string) => ({ type: "function_call", call_id: id, name: "look", arguments: "{}" });
  const chatCall = (id: string) => ({ id, type: "function", function: { name: "look", arguments: "{}" } });
  const said = { type: "message", role: "assistant", content: [{ type: "output_text", text: "Let me see." }] };
  test.each<[string, unknown, unknown[]]>([
    ["a text", "hi", [{ role: "user", content: "hi" }]],
    ["a developer's word", [{ role: "developer", content: "be kind" }], [{ role: "system", content: "be kind" }]],
    [
      "text parts",
      [
        {
          role: "user",
          content: [
            { type: "input_text", text: "a" },
            { type: "input_text", text: "b" },
          ],
        },
      ],
      [{ role: "user", content: "ab" }],
    ],
    [
      "text and calls of one turn",
      [said, call("1"), call("2"), { type: "function_call_output", call_id: "1", output: "x" }],
      [
        { role: "assistant", content: "Let me see.", tool_calls: [chatCall("1"), chatCall("2")] },
        { role: "tool", content: "x", tool_call_id: "1" },
      ],
    ],
    ["calls before their text", [call("1"), said], [{ role: "assistant", content: "Let me see.", tool_calls: [chatCall("1")] }]],
    [
      "turns that follow each other",
      [said, said],
      [
        { role: "assistant", content: "Let me see." },
        { role: "assistant", content: "Let me see." },
      ],
    ],
    [
      "an output in parts",
      [call("1"), { type: "function_call_output", call_id: "1", output: [{ type: "input_text", text: "x" }] }],
      [
        { role: "assistant", content: null, tool_calls: [chatCall("1")] },
        { role: "tool", content: "x", tool_call_id: "1" },
      ],
    ],
  ])("reads %s as chat has it", (_, input, messages) => {
    expect(readResponsesRequest({ model: "m", input })).toMatchObject({ status: "read", request: { messages } });
  });

  test("asks for the sampling that its chat request asks for", () => {
    const body = { model: "m", tool_choice: "none", parallel_tool_calls: false, stop: ["x"], stream: true, temperature: 0.1 };
    const byChat = readChatRequest({ ...body, messages: [{ role: "user", content: "hi" }], max_tokens: 5 });
    expect(readResponsesRequest({ ...body, input: "hi", max_output_tokens: 5, store: true, metadata: { a: "b" } })).toEqual(byChat);
    expect(readResponsesRequest({ input: "hi", reasoning: { effort: "low" } })).toMatchObject({
      request: { passed: { chat_template_kwargs: { reasoning_effort: "low" } } },
    });
  });

  test.each([
    [{ previous_response_id: "resp_1" }, "previous_response_id"],
    [{ conversation: "conv_1" }, "conversation"],
    [{ prompt: { id: "p" } }, "prompt"],
    [{ background: true }, "background"],
    [{ text: { format: { type: "json_schema", name: "x", schema: {} } } }, "text.format json_schema"],
    [{ tools: [{ type: "web_search" }] }, "tools of type web_search"],
    [{ tool_choice: "required" }, "a forced tool_choice"],
    [{ input: [{ type: "item_reference", id: "x" }] }, "input items of type item_reference"],
    [{ input: [{ type: "reasoning", id: "x", summary: [] }] }, "input items of type reasoning"],
    [{ input: [{ role: "user", content: [{ type: "input_image", image_url: "data:" }] }] }, "messages with parts that are not text"],
    [
      { input: [{ type: "function_call_output", call_id: "1", output: [{ type: "input_image" }] }] },
      "messages with parts that are not text",
    ],
    [{ input: [{ role: "assistant", content: "It is", status: "in_progress" }] }, "an assistant message to go on with"],
  ])("that a rollout cannot honour ends it, and says what: %o", async (change, what) => {
    const { client, session, place, requests } = await open();
    const body = { ...asked, input: "hi", ...change } as unknown as Parameters<OpenAI["responses"]["create"]>[0];
    await expect(client.responses.create(body)).rejects.toMatchObject({
      status: 400,
      code: "unsupported_request",
      message: expect.stringContaining(what),
    });
    expect([session.ended(), requests]).toEqual([{ status: "masked", cause: "unsupported_request" }, []]);
    await place.close();
  });

  test("that is none is refused, and the rollout goes on", async () => {
    const { client, session, place } = await open();
    const body = { model: "m" } as unknown as Parameters<OpenAI["responses"]["create"]>[0];
    await expect(client.responses.create(body)).rejects.toMatchObject({ status: 400, code: "invalid_request" });
    expect(session.ended()).toBeNull();
    await place.close();
  });
});

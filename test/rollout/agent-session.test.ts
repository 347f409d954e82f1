import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { createAgentSession } from "../../src/rollout/agent/agent-session.ts";
import { createRolloutListener } from "../../src/rollout/agent/listener.ts";
import type { GroupPlan, MemberPlan } from "../../src/rollout/plan.ts";
import { createReplaySession } from "../../src/rollout/replay-session.ts";
import { startOf } from "../../src/rollout/start.ts";
import type { ChatMessage } from "../../src/serving/policy-server.ts";
import { cascadeFor, conversation, lookup, policyOf, refund, type Step } from "./build.ts";
import { planOf } from "./plan.ts";
import { createScriptedPolicy, gone, type Move } from "./scripted-policy.ts";

const block: Step[] = [lookup("A1"), refund("A1"), lookup("A1", "delivered", true)];
const recorded = conversation("talk", [block, policyOf("lamp")]);
const never = new AbortController().signal;
const asks = (...steps: readonly Pick<Step, "tool" | "args">[]): Move => ({ calls: steps });

/** A session whose model says `moves` one after another. */
function open(moves: readonly Move[], overrides: Partial<GroupPlan> = {}) {
  let said = 0;
  const policy = createScriptedPolicy(() => moves[said++] ?? { reply: "Done." });
  const plan = planOf(recorded, policy, { cascade: cascadeFor([recorded]), ...overrides });
  const member: MemberPlan = { ...plan, start: startOf(plan.scenario), rolloutId: "r-1", seed: 1 };
  const tools = createReplaySession(member);
  const session = createAgentSession(member, tools);
  const messages: unknown[] = [
    { role: "system", content: "You work for a shop." },
    { role: "user", content: "help" },
  ];
  /** One model call; what the model said goes into the transcript, with the answers to what it asked for. */
  const turn = async (answers: readonly string[] = []): Promise<ChatMessage | null> => {
    const outcome = await session.chat({ messages }, never);
    if (outcome.status !== "answered") return null;
    const { message } = outcome.answer;
    messages.push(
      message,
      ...(message.tool_calls ?? []).map(({ id }, at) => ({ role: "tool", tool_call_id: id, content: answers[at] ?? "?" })),
    );
    return message;
  };
  const call = ({ tool, args }: Pick<Step, "tool" | "args">) => session.callTool(tool, args);
  return { session, tools, policy, messages, turn, call };
}
const textOf = ({ result }: Step): string => JSON.stringify(result);
const completed = { status: "completed" } as const;

describe("the tool calls of one model answer", () => {
  test.each([
    ["in its order", [0, 1, 2]],
    ["backwards", [2, 1, 0]],
    ["in any other", [1, 2, 0]],
  ])("made %s, all at once, are answered as if in the order of the answer", async (_, order) => {
    const distinct = [lookup("A1"), refund("A1"), policyOf("lamp")];
    const { turn, call, tools, session } = open([asks(...distinct)], { cascade: cascadeFor([conversation("talk", [distinct])]) });
    await turn();
    const answers = await Promise.all(order.map(async (at) => [at, (await call(distinct[at]!))?.text] as const));
    expect(answers.toSorted(([a], [b]) => a - b).map(([, text]) => text)).toEqual(distinct.map(textOf));
    expect(tools.journal().map(({ tool, rung }) => `${tool} ${rung}`)).toEqual(["lookup_order R1", "issue_refund R1", "refund_policy R0"]);
    expect(session.finish(completed).end).toEqual({ status: "truncated", cause: "max_calls" });
  });

  test("are known by what they say, however the agent's framework writes it", async () => {
    const { turn, session, tools } = open([asks({ tool: "lookup_order", args: '{ "order_id" : "A1" }' })], {
      cascade: cascadeFor([conversation("talk", [lookup("A1")])]),
    });
    await turn();
    expect((await session.callTool("lookup_order", { order_id: "A1" }))?.text).toBe(textOf(lookup("A1")));
    expect(tools.journal()).toHaveLength(1);
  });

  test("that nobody makes are not answered; what no answer asked for is a turn of its own", async () => {
    const { turn, call, tools, session } = open([asks(...block), { reply: "Done." }]);
    await turn();
    await call(lookup("A1"));
    await call(policyOf("lamp"));
    await turn();
    expect(tools.journal().map(({ tool }) => tool)).toEqual(["lookup_order", "refund_policy"]);
    expect(session.finish(completed).end).toEqual(completed);
  });

  test("left out before a later one mask the rollout where they would have written: what came after saw a state that nobody made", async () => {
    const { turn, call, session } = open([asks(...block), { reply: "Done." }]);
    await turn();
    await call(lookup("A1"));
    await call(block[2]!);
    // The first of two equal lookups is not made again: the second one is, after the refund between them.
    expect(await turn()).toBeNull();
    expect(session.finish(completed).end).toEqual({ status: "masked", cause: "skipped_write" });
  });
});

describe("a rollout ends", () => {
  const endless = asks({ tool: "refund_policy", args: { item: "lamp" } });
  test.each([
    ["completed when its agent has replied", [{ reply: "Done." }] as Move[], {}, 1, completed],
    [
      "at the agent's own limit of model calls",
      [endless, endless],
      { limits: { maxCalls: 1, maxSimulatedShare: 1, maxAttempts: 1 } },
      2,
      { status: "truncated", cause: "max_calls" },
    ],
    ["far beyond the recorded calls", Array.from({ length: 20 }, () => endless), {}, 20, { status: "masked", cause: "too_many_calls" }],
    ["masked where the policy server gives no answer", [{ result: gone }], {}, 1, { status: "masked", cause: "infrastructure" }],
    ["masked where its agent asks the model nothing", [], {}, 0, { status: "masked", cause: "agent_failed" }],
  ])("%s", async (_, moves, overrides, turns, end) => {
    const { turn, session } = open(moves, overrides);
    for (let at = 0; at < turns; at += 1) await turn();
    expect(session.finish(completed).end).toEqual(end);
  });

  test("where the tapes have no honest answer, and everything after that is refused", async () => {
    const { turn, call, session, tools } = open([asks({ tool: "issue_refund", args: { order_id: "Z9" } })], {
      cascade: cascadeFor([conversation("talk", [lookup("A1")])]),
    });
    await turn();
    const missed = await call({ tool: "issue_refund", args: { order_id: "A1", reason: "wet" } });
    const [entry] = tools.journal();
    expect([missed, entry?.rung, session.ended()]).toEqual([null, "R7", { status: "masked", cause: "replay_miss" }]);
    expect(session.over.aborted).toBe(true);
    expect([await turn(), await call(lookup("A1"))]).toEqual([null, null]);
    expect(tools.journal()).toHaveLength(1);
    expect(session.finish(completed).end).toEqual({ status: "masked", cause: "replay_miss" });
  });

  test("in a loop, as the agent's fault", async () => {
    const { turn, call, session } = open([endless]);
    await turn();
    for (let at = 0; at < 3; at += 1) await call(policyOf("lamp"));
    expect(session.finish(completed).end).toEqual({ status: "truncated", cause: "loop" });
  });
});

describe("model calls", () => {
  test("that do not extend the transcript make a branch; the last one's is what is judged", async () => {
    const { turn, session, messages } = open([{ reply: "A plan." }, { reply: "Done." }]);
    await turn();
    messages.splice(0, messages.length, { role: "system", content: "Check the plan." }, { role: "user", content: "A plan." });
    await turn();
    const rollout = session.finish(completed);
    expect([rollout.branches, rollout.calls.length, rollout.messages[0]]).toEqual([
      2,
      2,
      { role: "system", parts: [{ type: "text", content: "Check the plan." }] },
    ]);
  });

  test("draw by what they ask, not by when: two askers at once get the same seeds in either order, and the same question twice gets two", async () => {
    const ask = (content: string) => ({ messages: [{ role: "user", content }] });
    const seeds = async (order: readonly string[]): Promise<Map<string, number[]>> => {
      const { session, policy } = open([{ reply: "1" }, { reply: "2" }, { reply: "3" }]);
      await Promise.all(order.map((content) => session.chat(ask(content), never)));
      const found = policy.requests.map(({ messages, sampling }) => [String(messages[0]?.content), sampling.seed] as const);
      return new Map(order.map((content) => [content, found.flatMap(([text, seed]) => (text === content ? [seed] : []))]));
    };
    const one = await seeds(["a", "b", "a"]);
    const other = await seeds(["b", "a", "a"]);
    expect(Object.fromEntries(one)).toEqual(Object.fromEntries(other));
    expect(new Set(one.get("a")).size).toBe(2);
  });

  test("that their agent gave up are as if they had not been made", async () => {
    const { session, policy, turn } = open([{ reply: "late" }, { reply: "Done." }]);
    const impatient = new AbortController();
    policy.chat = ((real) => async (request, options) => {
      if (policy.requests.length === 0) {
        policy.requests.push(request);
        impatient.abort();
        options?.signal?.throwIfAborted();
      }
      return real(request, options);
    })(policy.chat.bind(policy));
    await expect(
      session.chat(
        {
          messages: [
            { role: "system", content: "You work for a shop." },
            { role: "user", content: "help" },
          ],
        },
        impatient.signal,
      ),
    ).rejects.toThrow(/abort/i);
    await turn();
    expect(policy.requests.map(({ sampling }) => sampling.seed)).toEqual([
      policy.requests[0]?.sampling.seed,
      policy.requests[0]?.sampling.seed,
    ]);
    expect(session.finish(completed)).toMatchObject({ end: completed, calls: [{}] });
  });

  test("take the agent's own token limit where it is lower, and hand on what leaves the distribution as it is", async () => {
    const { session, policy } = open([]);
    const body = {
      messages: [
        {
          role: "developer",
          content: [
            { type: "text", text: "be " },
            { type: "text", text: "kind" },
          ],
        },
      ],
    };
    await session.chat({ ...body, max_completion_tokens: 9, temperature: 0.1, stop: ["\n"], logprobs: true }, never);
    await session.chat({ ...body, max_tokens: 900, tool_choice: "none", tools: [{ type: "function", function: { name: "x" } }] }, never);
    const [first, second] = policy.requests;
    expect(first).toMatchObject({
      messages: [{ role: "system", content: "be kind" }],
      sampling: { temperature: 1, maxTokens: 9 },
      passed: { stop: ["\n"] },
    });
    expect([second?.sampling.maxTokens, second?.tools]).toEqual([64, []]);
  });

  test.each([
    [{ n: 2 }],
    [{ response_format: { type: "json_schema" } }],
    [{ tool_choice: "required" }],
    [{ tool_choice: { type: "function", function: { name: "x" } } }],
    [{ logit_bias: { "1": 2 } }],
    [{ frequency_penalty: 0.5 }],
    [{ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:" } }] }] }],
  ])("that ask for samples which are not the policy's own end the rollout: %o", async (asked) => {
    const { session, policy } = open([]);
    expect(await session.chat({ messages: [{ role: "user", content: "x" }], ...asked }, never)).toMatchObject({
      status: "refused",
      problem: "unsupported_request",
    });
    expect([session.ended(), policy.requests]).toEqual([{ status: "masked", cause: "unsupported_request" }, []]);
  });

  test("that are no chat requests are refused, and the rollout goes on", async () => {
    const { session, turn } = open([]);
    expect(await session.chat({ messages: [] }, never)).toMatchObject({
      status: "refused",
      problem: "invalid_request",
      message: expect.stringContaining("messages"),
    });
    await turn();
    expect(session.finish(completed).end).toEqual(completed);
  });
});

test.each([false, true])("OpenAI's own client reads what the listener answers, streaming %s", async (stream) => {
  const listener = createRolloutListener({ host: "127.0.0.1", port: 0 });
  await listener.start();
  const { session } = open([asks(...block), { reply: "Done 🎉, with a text that is longer than one chunk." }]);
  const place = await listener.open(session, { tools: [], ownOrigin: false });
  const client = new OpenAI({ baseURL: place.openaiBaseUrl, apiKey: place.token, maxRetries: 0 });
  const messages = [{ role: "user" as const, content: "help" }];
  const ask = async () => {
    if (!stream) return client.chat.completions.create({ model: "shop", messages });
    return client.chat.completions.stream({ model: "shop", messages, stream_options: { include_usage: true } }).finalChatCompletion();
  };
  const first = await ask();
  expect(first.choices[0]?.finish_reason).toBe("tool_calls");
  expect(first.choices[0]?.message.tool_calls).toMatchObject(
    block.map(({ tool, args }, at) => ({
      id: `call_0_${at}`,
      type: "function",
      function: { name: tool, arguments: JSON.stringify(args) },
    })),
  );
  const second = await ask();
  expect(second.choices[0]?.message.content).toBe("Done 🎉, with a text that is longer than one chunk.");
  expect([second.model, second.usage?.total_tokens]).toEqual(["shop", 3]);
  session.finish(completed);
  await expect(ask()).rejects.toMatchObject({ status: 410, code: "rollout_ended" });
  const stranger = new OpenAI({ baseURL: place.openaiBaseUrl.replace(place.token, "guess"), apiKey: "guess", maxRetries: 0 });
  await expect(stranger.chat.completions.create({ model: "shop", messages })).rejects.toMatchObject({
    status: 401,
    code: "unknown_rollout",
  });
  await place.close();
  await listener.close();
});

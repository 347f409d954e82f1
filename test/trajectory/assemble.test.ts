import { fc, test as propertyTest } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import type { Assignment, Call } from "../../src/trace/call.ts";
import { assemble, type Draft } from "../../src/trajectory/assemble.ts";
import { answer, ask, inference, root, say, SIMPLE, START_MS, tool, TOOLS } from "./calls.ts";
import { conversationCalls } from "./generated.ts";

const { agents } = parseConfig({ agents: { shop: { model: "m", baseModel: "b", match: { serviceName: "shop" } } } });
const CONVERSATION = { id: "conv", key: "k", tenant: "default", agent: "unknown" };
const build = (calls: readonly Call[]) => assemble(CONVERSATION, calls, agents);
const only = (drafts: readonly Draft[]): Draft => {
  expect(drafts).toHaveLength(1);
  return drafts[0] as Draft;
};
const { system, question, lookup, found, done } = SIMPLE;

describe("one conversation", () => {
  test("the longest call's input and output are the transcript; times, usage and the tool's timing come from the spans", () => {
    const { trajectory } = only(build(SIMPLE.calls));
    expect(trajectory).toMatchObject({
      messages: SIMPLE.transcript,
      agent: "shop",
      subject: "user-7",
      startedAtMs: START_MS + 100,
      endedAtMs: START_MS + 2_500,
      usage: { inputTokens: 200, outputTokens: 20, calls: 2 },
      toolTimings: [{ callId: "c1", startedAtMs: START_MS + 1_100, latencyMs: 400, isError: false, spanId: "x1" }],
      parentId: null,
      tools: TOOLS,
      responseIds: ["r1", "r2"],
    });
  });

  test("history that differs in ids, spaces, reasoning and how results are bundled is the same history", () => {
    const thinking = { ...lookup, parts: [{ type: "reasoning", content: "hm" }, ...lookup.parts] };
    const [call, later] = [inference("i1", [0, 1], [system, question], [thinking]), ask(["other", "lookup", '{ "order": "A1" }'])];
    const asText = { role: "user", parts: [{ type: "tool_call_response", id: "other", response: '{"status":"lost"}' }] };
    const drafts = build([call, inference("i2", [2, 3], [system, say("user", "Where is order A1? "), later, asText], [done])]);
    expect(only(drafts).trajectory.usage.calls).toBe(2);
  });

  test("an answer that the answering span garbled is taken from the next request's history", () => {
    const garbled = ask(["c1c2", "lookuprefund", "{}{}"]);
    const drafts = build([inference("i1", [0, 1], [system, question], [garbled]), ...SIMPLE.calls.slice(2)]);
    expect(only(drafts).trajectory).toMatchObject({ messages: SIMPLE.transcript, usage: { calls: 2 } });
  });

  test("pseudonyms are numbered per conversation, in messages and arguments alike", () => {
    const letter = say("user", "I am <email_abcd2345> and <email_zzzz2222>, again <email_abcd2345>, card <card_aaaa2222>");
    const call = ask(["c", "lookup", { mail: "<email_zzzz2222>" }]);
    const { messages, pseudonyms } = only(build([inference("i", [0, 1], [letter], [call])])).trajectory;
    expect(messages[0]).toEqual(say("user", "I am <email_1> and <email_2>, again <email_1>, card <card_1>"));
    expect(pseudonyms).toEqual({ "<email_1>": "<email_abcd2345>", "<email_2>": "<email_zzzz2222>", "<card_1>": "<card_aaaa2222>" });
    expect(messages[1]?.parts[0]).toMatchObject({ arguments: { mail: "<email_2>" } });
  });
});

describe("two recordings of one call", () => {
  const assignment: Assignment = { experimentId: "e", key: "k", weakKey: false, arm: "candidate", probability: 0.2, routeVersion: 4 };
  const gateway = {
    parentSpanId: "http",
    dialect: "genai",
    serviceName: "nightshift",
    agentName: "route",
    adapterDigest: "sha256:a",
    assignment,
    tools: [TOOLS[0]!],
  };
  const http = { ...root([0, 0]), spanId: "http", parentSpanId: "i1", name: "POST" };

  test("gateway inside SDK: content, tools, usage, digest and assignment from the gateway, names and subject from the SDK", () => {
    const sdk = inference("i1", [0, 100], [say("user", "cut")], [say("assistant", "cut")], {
      agentName: "clerk",
      subject: "user-1",
      dialect: "openinference",
      damage: ["truncated_json"],
      usage: { inputTokens: 1, outputTokens: 1 },
      tools: null,
    });
    const seen = inference("g1", [10, 90], [system, question], [done], { ...gateway, usage: { inputTokens: 50, outputTokens: 5 } });
    const { trajectory, evidence } = only(build([sdk, http, seen]));
    expect(trajectory).toMatchObject({
      messages: [system, question, done],
      tools: [TOOLS[0]],
      usage: { inputTokens: 50, outputTokens: 5, calls: 1 },
      adapterDigest: "sha256:a",
      assignment,
      subject: "user-1",
      agent: "shop",
      dialects: ["genai", "openinference"],
      spans: [{ spanId: "g1" }, { spanId: "i1" }],
    });
    expect(evidence).toMatchObject({ damage: [], fromGateway: true });
  });

  test("no tools at the gateway means no tools, whatever the SDK says", () => {
    const seen = inference("g1", [10, 90], [system, question], [done], { ...gateway, tools: null });
    expect(only(build([inference("i1", [0, 100], [question], [done]), http, seen])).trajectory.tools).toBeNull();
  });

  test("in traces of their own they are one call by response id and answer; the id alone joins nothing", () => {
    const seen = inference("g1", [10, 90], [system, question], [done], { ...gateway, traceId: "t2", parentSpanId: null, responseId: "r" });
    const sdk = inference("i1", [0, 100], [system, question], [done], { responseId: "r", subject: "user-1" });
    expect(only(build([sdk, seen])).trajectory).toMatchObject({ usage: { calls: 1 }, subject: "user-1", adapterDigest: "sha256:a" });
    const other = inference("i2", [200, 300], [system, say("user", "Another?")], [say("assistant", "Other.")], { responseId: "r" });
    expect(build([sdk, other])).toHaveLength(2);
  });

  test("a wrapper around several steps fills the one with its answer and is no call itself", () => {
    const wrapper = inference("w", [0, 3_000], [system, question], [done], {
      subject: "user-w",
      usage: { inputTokens: 200, outputTokens: 20 },
    });
    const inside = SIMPLE.calls.slice(1).map((call) => ({ ...call, parentSpanId: "w" }));
    expect(only(build([wrapper, ...inside])).trajectory).toMatchObject({ usage: { inputTokens: 200, calls: 2 }, subject: "user-w" });
    expect(only(build([wrapper, ...inside])).trajectory.spans.map(({ spanId }) => spanId)).toEqual(["i1", "i2", "w", "x1"]);
  });

  test("a model span around a tool is no wrapper of the sub-agent in it", () => {
    const around = inference("w", [0, 3_000], [system, question], [done]);
    const inTool = tool("x", [10, 90], "lookup", null, { parentSpanId: "w" });
    const sub = inference("s", [20, 80], [say("user", "A1")], [say("assistant", "lost")], { parentSpanId: "x" });
    expect(build([around, inTool, sub])).toHaveLength(2);
  });

  test("parents in a circle end", () => {
    const one = inference("a", [0, 1], [question], [done], { parentSpanId: "b" });
    const two = { ...root([0, 1]), spanId: "b", parentSpanId: "a" };
    expect(only(build([one, two])).trajectory.messages).toEqual([question, done]);
  });
});

describe("branches", () => {
  test("a discarded retry is a trajectory of its own below the main one, and abandoned", () => {
    const retry = inference("i0", [50, 90], [system, question], [say("assistant", "No idea.")]);
    const drafts = build([retry, ...SIMPLE.calls]);
    const main = drafts.find(({ trajectory }) => trajectory.parentId === null);
    const branch = drafts.find(({ trajectory }) => trajectory.parentId !== null);
    expect(main?.trajectory).toMatchObject({ messages: SIMPLE.transcript, usage: { calls: 2 } });
    expect(branch).toMatchObject({ trajectory: { parentId: main?.trajectory.id, usage: { calls: 1 } }, evidence: { abandoned: true } });
    expect(drafts).toHaveLength(2);
  });

  test("thinking that history leaves out does not make the real answer look discarded too", () => {
    const thinking = { ...lookup, parts: [{ type: "reasoning", content: "hm" }, ...lookup.parts] };
    const retry = inference("i0", [50, 90], [system, question], [say("assistant", "No idea.")]);
    const thought = inference("i1", [100, 1_000], [system, question], [thinking]);
    expect(build([retry, thought, ...SIMPLE.calls.slice(2)]).map(({ evidence }) => evidence.abandoned)).toEqual([true, false]);
  });

  test("an attempt that failed without an answer is no branch", () => {
    const failed = inference("i0", [50, 90], [system, question], [], { errorType: "timeout", usage: {} });
    expect(only(build([failed, ...SIMPLE.calls])).trajectory.messages).toEqual(SIMPLE.transcript);
  });

  test("an edited question after an answer is a fork: both go on, none is abandoned", () => {
    const first = inference("a", [0, 1], [system, question], [done]);
    const left = inference("b", [2, 3], [system, question, done, say("user", "Thanks")], [say("assistant", "Welcome")]);
    const right = inference(
      "c",
      [4, 5],
      [system, question, done, say("user", "Refund!")],
      [say("assistant", "Sure"), say("assistant", "Done")],
    );
    const drafts = build([first, left, right]);
    expect(drafts.map(({ evidence }) => evidence.abandoned)).toEqual([false, false]);
    expect(drafts.map(({ trajectory }) => trajectory.usage.calls)).toEqual([2, 2]);
    const discarded = inference("d", [2, 3], [system, question, done, say("user", "Thanks")], [say("assistant", "Eh?")]);
    const again = build([first, discarded, left, right]);
    expect(
      again.filter(({ evidence }) => evidence.abandoned).flatMap(({ trajectory }) => trajectory.spans.map(({ spanId }) => spanId)),
    ).toHaveLength(2);
  });

  test("a sub-agent inside a tool is a trajectory whose parent made the call", () => {
    const sub = inference("s1", [1_200, 1_300], [say("system", "You look orders up."), say("user", "A1")], [say("assistant", "lost")], {
      parentSpanId: "x1",
    });
    const drafts = build([...SIMPLE.calls, sub]);
    const [parent, child] = drafts.map(({ trajectory }) => trajectory);
    expect(drafts).toHaveLength(2);
    expect(child).toMatchObject({ parentId: parent?.id, usage: { calls: 1 } });
    expect(parent?.usage.calls).toBe(2);
  });

  test("a sub-agent that is handed a piece of history was not compacted", () => {
    const sub = inference(
      "s1",
      [1_200, 1_300],
      [say("system", "You refund."), say("assistant", "Earlier."), say("user", "A1")],
      [say("assistant", "ok")],
      {
        parentSpanId: "x1",
      },
    );
    expect(build([...SIMPLE.calls, sub]).map(({ evidence }) => evidence.compactedUnlinked)).toEqual([false, false]);
  });

  test("a compacted history starts a linked segment; one with nothing before it is unlinked", () => {
    const summary = say("user", "Summary: the order was lost.");
    const after = inference("i3", [3_000, 3_500], [system, summary, done, say("user", "Refund it")], [say("assistant", "Refunded")]);
    const [before, segment] = build([...SIMPLE.calls, after]);
    expect(segment).toMatchObject({
      trajectory: { parentId: before?.trajectory.id, usage: { calls: 1 } },
      evidence: { compactedUnlinked: false },
    });
    const alone = inference("i3", [3_000, 3_500], [system, done, say("user", "Refund it")], [say("assistant", "Refunded")]);
    expect(only(build([alone])).evidence.compactedUnlinked).toBe(true);
  });

  test("two conversations that begin alike are not linked", () => {
    const other = inference("z", [9_000, 9_100], [system, say("user", "Hello")], [say("assistant", "Hi")]);
    expect(build([...SIMPLE.calls, other]).map(({ trajectory }) => trajectory.parentId)).toEqual([null, null]);
  });
});

describe("tool calls", () => {
  const twice = ask([undefined, "lookup", { order: "A" }], [undefined, "lookup", { order: "B" }]);
  const results = [answer(undefined, "lost"), answer(undefined, "sent")];

  test("parallel calls without ids pair by name and arguments, and the results' pairing is a guess", () => {
    const draft = only(
      build([
        inference("i1", [0, 1], [system, question], [twice]),
        tool("b", [2, 8], "lookup", null, { arguments: { order: "B" }, isError: true }),
        tool("a", [3, 9], "lookup", null, { arguments: { order: "A" } }),
        inference("i2", [10, 11], [system, question, twice, ...results], [done]),
      ]),
    );
    expect(draft.trajectory.toolTimings.map(({ callId, spanId, isError }) => [callId, spanId, isError])).toEqual([
      ["0:0", "a", false],
      ["0:1", "b", true],
    ]);
    expect(draft.evidence).toMatchObject({ pairingGuessed: true, unanswered: [] });
  });

  test("ids that a model uses again in every turn pair in order", () => {
    const turn = (order: string) => [ask(["call_0", "lookup", { order }]), answer("call_0", order)];
    const history = [system, question, ...turn("A"), ...turn("B")];
    const draft = only(
      build([
        tool("x2", [30, 31], "lookup", "call_0"),
        tool("x1", [10, 11], "lookup", "call_0"),
        inference("i", [40, 41], history, [done]),
      ]),
    );
    expect(draft.trajectory.toolTimings.map(({ spanId }) => spanId)).toEqual(["x1", "x2"]);
    expect(draft.evidence.pairingGuessed).toBe(false);
  });

  test("an execution repeated by a nested MCP span counts once", () => {
    const nested = tool("mcp", [1_050, 1_450], "lookup", "c1", { parentSpanId: "x1" });
    expect(only(build([...SIMPLE.calls, nested])).trajectory.toolTimings.map(({ spanId }) => spanId)).toEqual(["x1"]);
  });

  test("a call without any result is unanswered; a result on its span alone will do", () => {
    const last = inference("i1", [0, 1], [system, question], [lookup]);
    expect(only(build([last])).evidence.unanswered).toEqual(["lookup"]);
    expect(only(build([last, tool("x", [2, 3], "lookup", "c1", { result: found })])).evidence.unanswered).toEqual([]);
  });
});

propertyTest.prop([conversationCalls(), fc.infiniteStream(fc.nat())], { numRuns: 150 })(
  "order and duplicates of the spans never show",
  (calls, random) => {
    const expected = build(calls);
    const shuffled = [...calls, ...calls.filter((_, index) => index % 3 === 0)]
      .map((call) => [random.next().value, call] as const)
      .toSorted(([a], [b]) => Number(a) - Number(b))
      .map(([, call]) => call);
    expect(build(shuffled)).toEqual(expected);
  },
);

propertyTest.prop([conversationCalls()], { numRuns: 150 })(
  "every model call is in exactly the trajectories that hold its answer, every trajectory has an id of its own",
  (calls) => {
    const drafts = build(calls);
    const placed = new Set(drafts.flatMap(({ trajectory }) => trajectory.spans.map(({ spanId }) => spanId)));
    for (const call of calls) if (call.kind === "inference") expect(placed).toContain(call.spanId);
    const ids = drafts.map(({ trajectory }) => trajectory.id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { trajectory } of drafts) if (trajectory.parentId !== null) expect(ids).toContain(trajectory.parentId);
  },
);

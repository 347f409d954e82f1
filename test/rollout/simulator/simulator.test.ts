import { describe, expect, it } from "vitest";
import { createLimiter } from "../../../src/limiter.ts";
import { silentLog } from "../../../src/log.ts";
import { encodeGroup } from "../../../src/rollout/encode-group.ts";
import { rolloutGroup } from "../../../src/rollout/loop.ts";
import { createOffTape, type OffTape } from "../../../src/rollout/off-tape.ts";
import type { GroupPlan } from "../../../src/rollout/plan.ts";
import { createSimulator } from "../../../src/rollout/simulator/simulator.ts";
import { sourcesOfGroup } from "../../../src/rollout/sources.ts";
import type { ToolConfig } from "../../../src/trajectory/tool-profile.ts";
import type { Trajectory } from "../../../src/trajectory/trajectory.ts";
import { cascadeFor, conversation, lookup, notFound, policyOf, refund, refundFails, shopConfigs, type Step } from "../build.ts";
import { planOf } from "../plan.ts";
import { createScriptedPolicy, type Move } from "../scripted-policy.ts";
import { createScriptedLlm, piecesOf, render, type Reply } from "../scripted-llm.ts";

const mine = conversation("mine", [policyOf("lamp")], { says: "where is my order A1" });
const others = ["B1", "B2", "B3"].map((id, index) =>
  conversation(id, [lookup(id, index === 0 ? "shipped" : "delivered")], { startMs: -1e6 - index }),
);

type Llm = ReturnType<typeof createScriptedLlm>;
const offTapeOf = (llm: Llm): OffTape =>
  createOffTape("shop", { simulator: createSimulator({ llm, model: "words" }, { log: silentLog() }), liveReads: null, user: null });
const policy = (moves: readonly Move[]) =>
  createScriptedPolicy(({ messages }) => moves[messages.filter(({ role }) => role === "assistant").length] ?? { reply: "done" });
const calls = (...steps: readonly Pick<Step, "tool" | "args">[]): Move[] => steps.map((step) => ({ calls: [step] }));
const answer = (result: unknown): Reply => JSON.stringify({ result });
const limits = { maxCalls: 16, maxSimulatedShare: 1, maxAttempts: 1 };

async function playing(llm: Llm, moves: readonly Move[], tapes: readonly Trajectory[] = others, overrides: Partial<GroupPlan> = {}) {
  const cascade = cascadeFor([mine, ...tapes], { configs: shopConfigs });
  const group = await rolloutGroup(planOf(mine, policy(moves), { cascade, offTape: offTapeOf(llm), limits, ...overrides }));
  const [member] = group.members;
  if (member === undefined) throw new Error("a group has members");
  const results = member.messages.flatMap(({ parts }) =>
    parts.flatMap((part) => (part.type === "tool_call_response" ? [String(part["response"])] : [])),
  );
  return { group, member, results, rungs: member.journal.map(({ rung }) => rung) };
}

describe("a read that nobody recorded", () => {
  it("is worded by the simulator in the form of the recorded answers, and the journal says so", async () => {
    const llm = createScriptedLlm(() => answer({ status: "shipped", refunded: false, order_id: "A1", item: "lamp" }));
    const { group, member, results } = await playing(llm, calls(lookup("A1")));
    expect(results).toEqual(['{"order_id":"A1","item":"lamp","status":"shipped","refunded":false}']);
    expect(member.end).toEqual({ status: "completed" });
    expect(member.journal).toMatchObject([
      { rung: "R5", isError: false, confidence: 0.6, simulator: { model: "words" }, madeFrom: ["B1@1", "B2@1", "B3@1"] },
    ]);
    expect(member.journal[0]?.simulator?.promptHash).toMatch(/^[0-9a-f]{32}$/);
    expect(group.fidelity).toMatchObject({ simulatedShare: 1, weight: expect.closeTo(0.6) as number });
    expect(sourcesOfGroup(group)).toEqual(expect.arrayContaining(["B1@1", "B2@1", "B3@1", group.scenarioId]));
    expect(llm.questions).toHaveLength(1);
    expect(llm.questions[0]?.sources).toEqual(expect.arrayContaining(["B1@1", "B2@1", "B3@1", group.scenarioId]));
  });

  it("is a miss without a simulator, and where there is nothing to word it from", async () => {
    const llm = createScriptedLlm(render);
    const alone = await playing(llm, calls(lookup("A1")), []);
    expect(alone.member.end).toEqual({ status: "masked", cause: "replay_miss" });
    const without = await playing(llm, calls(lookup("A1")), others, { offTape: undefined });
    expect(without.member.end).toEqual({ status: "masked", cause: "replay_miss" });
    expect(llm.questions).toEqual([]);
  });

  it.each([
    ["a tool that nobody described", { ...shopConfigs, lookup_order: { ...shopConfigs["lookup_order"], class: "unknown" as const } }],
    [
      "a tool without state, whose answer would be a fact made up",
      { ...shopConfigs, lookup_order: { ...shopConfigs["lookup_order"], class: "pure" as const } },
    ],
  ])("never answers %s", async (_, configs) => {
    const llm = createScriptedLlm(render);
    const cascade = cascadeFor([mine, ...others], { configs });
    const { member } = await playing(llm, calls(lookup("A1")), others, { cascade });
    expect(member.end).toEqual({ status: "masked", cause: "replay_miss" });
    expect(llm.questions).toEqual([]);
  });

  const fine = { order_id: "A1", item: "lamp", status: "shipped", refunded: false };
  it.each([
    ["no JSON", "I think it is shipped", /no JSON object/],
    ["another form", answer({ ...fine, price: 3 }), /form: .*additional/],
    ["a field too few", answer({ order_id: "A1" }), /form: .*required/],
    ["another type", answer({ ...fine, refunded: "no" }), /form: .*boolean/],
    ["another order than was asked for", answer({ ...fine, order_id: "B1" }), /order_id: it repeats/],
    ["an id that nobody knows", answer({ ...fine, order_id: "Z9" }), /order_id: an id that nobody knows/],
    ["somebody who is not there", answer({ ...fine, status: "<email_abcdefgh>" }), /names somebody/],
    ["a novel", answer({ ...fine, item: "lamp ".repeat(10_000) }), /longer than/],
  ])("is asked for again after %s, then used", async (_, bad, problem) => {
    const llm = createScriptedLlm((_question, asked) => (asked === 0 ? bad : answer(fine)));
    const { results } = await playing(llm, calls(lookup("A1")));
    expect(llm.problems).toEqual([expect.stringMatching(problem)]);
    expect(JSON.stringify(llm.problems)).not.toMatch(/Z9|abcdefgh|lamp lamp/);
    expect(results).toEqual([JSON.stringify(fine)]);
  });

  it.each([
    ["keeps breaking the rules", () => "no", { status: "masked", cause: "replay_miss" }],
    ["is refused", () => ({ status: "rejected" as const }), { status: "masked", cause: "replay_miss" }],
    ["does not reach its server", () => ({ status: "retryable" as const }), { status: "masked", cause: "infrastructure" }],
  ])("ends the rollout where the simulator %s", async (_, script: () => Reply, end) => {
    const { group, rungs } = await playing(createScriptedLlm(script), calls(lookup("A1")));
    expect(group.members.map((member) => member.end)).toEqual([end, end, end]);
    // An outage is nobody's answer: nothing of it is in a journal.
    expect(rungs).toEqual(end.cause === "infrastructure" ? [] : ["R7"]);
  });

  it("asks again after an outage", async () => {
    let down = true;
    const llm = createScriptedLlm((question) => (down ? { status: "retryable" } : render(question)));
    const offTape = offTapeOf(llm);
    const before = await playing(llm, calls(lookup("A1")), others, { offTape });
    down = false;
    const during = llm.questions.length;
    const after = await playing(llm, calls(lookup("A1")), others, { offTape });
    expect([before.member.end.status, after.member.end.status]).toEqual(["masked", "completed"]);
    expect(llm.questions).toHaveLength(during + 1);
  });
});

describe("the outcome", () => {
  it("is decided before anything is worded: a tool fails as often as it did for the world's reasons", async () => {
    const failing: Step = { ...lookup("B4"), result: { error: "archived", order_id: "B4" } };
    const half = [conversation("B4", [lookup("B4"), failing], { startMs: -2e6 })];
    const seen = new Set<string>();
    for (let iteration = 0; iteration < 12; iteration += 1) {
      const llm = createScriptedLlm(render);
      const { member, results } = await playing(llm, calls(lookup("A1")), half, { iteration });
      const isError = member.journal[0]?.isError ?? false;
      expect(results[0]).toBe(
        isError ? '{"error":"archived","order_id":"A1"}' : '{"order_id":"A1","item":"lamp","status":"delivered","refunded":false}',
      );
      expect(
        piecesOf(llm.questions[0] as never).some(({ head }) => head === `the call ${isError ? "fails" : "succeeds"}: write the answer`),
      ).toBe(true);
      if (!isError)
        expect(piecesOf(llm.questions[0] as never).find(({ head }) => head.startsWith("recorded call that failed"))?.body).toContain("B4");
      seen.add(String(isError));
    }
    expect(seen).toEqual(new Set(["true", "false"]));
  });

  it("is not the model's to change", async () => {
    const llm = createScriptedLlm(() => answer({ error: "I would rather fail", order_id: "A1" }));
    const { member } = await playing(llm, calls(lookup("A1")));
    expect(member.end).toEqual({ status: "masked", cause: "replay_miss" });
  });

  it("leaves the agent's own mistakes to the tool's recorded error", async () => {
    const llm = createScriptedLlm(render);
    const { rungs } = await playing(llm, calls(lookup("INVENTED-7")), [...others, conversation("N", [notFound("Q1")], { startMs: -3e6 })]);
    expect(rungs).toEqual(["agent_error"]);
    expect(llm.questions).toEqual([]);
  });
});

describe("a write that hardly ever fails, for no reason known", () => {
  const rarely = [
    ...Array.from({ length: 59 }, (_, index) => conversation(`C${index}`, [lookup(`C${index}`), refund(`C${index}`)], { startMs: -2e6 })),
    conversation("D", [lookup("D"), refundFails("D")], { startMs: -2e6 }),
  ];

  it("is worded by the simulator, changes the state, and is not executed", async () => {
    const llm = createScriptedLlm(render);
    const { member, results } = await playing(llm, calls(refund("A1")), [...others, ...rarely]);
    const [entry] = member.journal;
    expect(entry).toMatchObject({ rung: "R5", isError: false, simulator: { model: "words" } });
    expect(results).toEqual(['{"order_id":"A1","refunded":true}']);
    expect(entry?.stateAfter).not.toBe(entry?.stateBefore);
  });

  it("is shown nothing that the scenario's own conversation went on to see, nor why the agent calls", async () => {
    const told = conversation(
      "mine",
      [
        lookup("A1", "delivered"),
        { ...refund("A1"), args: { order_id: "A1", reason: "FUTURE" } },
        { ...lookup("A1"), result: { ...(lookup("A1").result as object), item: "FUTURE" } },
      ],
      {
        says: "GOAL: my money back for A1",
      },
    );
    const llm = createScriptedLlm(render);
    const thinking = createScriptedPolicy(({ messages }) =>
      messages.length === 2 ? (calls(refund("A1"))[0] as Move) : { reply: "THOUGHTS" },
    );
    await rolloutGroup(planOf(told, thinking, { cascade: cascadeFor([told, ...others, ...rarely]), offTape: offTapeOf(llm), limits }));
    for (const { user, system } of llm.questions) expect(user + system).not.toMatch(/FUTURE|GOAL|THOUGHTS/);
  });
});

describe("state", () => {
  it("is kept by code: what is known is in the prompt, and no answer may say otherwise", async () => {
    const configs = { ...shopConfigs, track_order: shopConfigs["lookup_order"] as ToolConfig };
    const track = (id: string, status: string): Step => ({
      tool: "track_order",
      args: { order_id: id },
      result: { order_id: id, status, carrier: "bus" },
    });
    const tools = [
      ...(mine.tools ?? []),
      { name: "track_order", parameters: { type: "object", properties: { order_id: { type: "string" } } } },
    ];
    const own = conversation("mine", [lookup("A1", "shipped")], { tools, says: "where is A1" });
    const tapes = [own, conversation("T1", [track("B9", "delivered")], { startMs: -1e6, tools })];
    const llm = createScriptedLlm((question, asked) =>
      asked === 0 ? answer({ order_id: "A1", status: "delivered", carrier: "bus" }) : render(question),
    );
    const { member, results } = await playing(llm, calls(lookup("A1"), track("A1", "?")), [], {
      scenario: planOf(own, policy([])).scenario,
      cascade: cascadeFor(tapes, { configs }),
    });
    expect(piecesOf(llm.questions[0] as never).find(({ head }) => head === "known now")?.body).toContain('"status":"shipped"');
    expect(llm.problems).toEqual(["status: something else is known"]);
    expect(results[1]).toBe('{"order_id":"A1","status":"shipped","carrier":"bus"}');
    expect(member.journal.map(({ rung }) => rung)).toEqual(["R1", "R5"]);
  });
});

describe("what the simulator said", () => {
  it("is known from then on: a write is decided by it, and stays a simulated answer", async () => {
    const orders = ["D1", "D2", "D3"].flatMap((id) => [
      conversation(id, [lookup(id), refund(id)], { startMs: -2e6 }),
      conversation(`${id}x`, [lookup(`${id}x`, "delivered", true), refundFails(`${id}x`)], { startMs: -2e6 }),
    ]);
    for (const refunded of [true, false]) {
      const fields = { order_id: "A1", item: "lamp", status: "delivered", refunded };
      const llm = createScriptedLlm((question) =>
        question.schema["properties"] !== undefined && question.user.includes("lookup_order") ? answer(fields) : render(question),
      );
      for (const iteration of [1, 2, 3, 4, 5]) {
        const { member, results } = await playing(llm, calls(lookup("A1"), refund("A1"), lookup("A1")), orders, { iteration });
        expect(member.journal.slice(0, 2)).toMatchObject([
          { rung: "R5", isError: false },
          { rung: "R5", isError: refunded },
        ]);
        expect(results[1]).toBe(refunded ? '{"error":"already refunded","order_id":"A1"}' : '{"order_id":"A1","refunded":true}');
      }
    }
  });
});

describe("consistency", () => {
  it("gives siblings the same bytes with one question, with one worker and with eight, and after a restart", async () => {
    const run = async (workers: number) => {
      const llm = createScriptedLlm(render);
      const { group } = await playing(llm, calls(lookup("A1"), lookup("A2")), others, {
        groupSize: 8,
        limiter: createLimiter(workers),
        scenario: planOf(conversation("mine", [policyOf("lamp")], { says: "A1 and A2" }), policy([])).scenario,
      });
      return {
        bytes: Buffer.from(encodeGroup(group)).toString(),
        questions: llm.questions.length,
        prompts: llm.questions.map(({ user }) => user).toSorted(),
      };
    };
    const [one, eight, again] = [await run(1), await run(8), await run(8)];
    expect(one.questions).toBe(2);
    expect(eight).toEqual(one);
    expect(again).toEqual(one);
  });
});

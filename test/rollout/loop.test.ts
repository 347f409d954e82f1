import { describe, expect, it } from "vitest";
import { decodeGroup, encodeGroup } from "../../src/rollout/encode-group.ts";
import { createLimiter } from "../../src/limiter.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import type { GroupPlan } from "../../src/rollout/plan.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { cascadeFor, conversation, lookup, policyOf, refund } from "./build.ts";
import { planOf as planOver, scenarioOf } from "./plan.ts";
import { createScriptedPolicy, retryable, type Move } from "./scripted-policy.ts";

const recorded = conversation("mine", [lookup("A1"), policyOf("lamp")], { says: "refund A1 please" });

const planOf = (policyServer: GroupPlan["policyServer"], overrides: Partial<GroupPlan> = {}): GroupPlan =>
  planOver(recorded, policyServer, overrides);
const turnOf = (request: { messages: readonly { role: string }[] }): number =>
  request.messages.filter(({ role }) => role === "assistant").length;
const script = (moves: readonly Move[]) => createScriptedPolicy((request) => moves[turnOf(request)] ?? { reply: "done" });
const call = (tool: string, args: unknown): Move => ({ calls: [{ tool, args }] });

describe("rolloutGroup", () => {
  it("sends exactly what was recorded, extends each request, and names calls by place", async () => {
    const policy = script([{ calls: [lookup("A1"), policyOf("lamp")] }, { reply: "A1 is delivered." }]);
    const group = await rolloutGroup(planOf(policy, { groupSize: 1 }));
    expect(policy.requests[1]?.messages).toEqual([
      { role: "system", content: "You work for a shop." },
      { role: "user", content: "refund A1 please" },
      {
        role: "assistant",
        content: "",
        tool_calls: [
          { id: "call_0_0", type: "function", function: { name: "lookup_order", arguments: '{"order_id":"A1"}' } },
          { id: "call_0_1", type: "function", function: { name: "refund_policy", arguments: '{"item":"lamp"}' } },
        ],
      },
      { role: "tool", tool_call_id: "call_0_0", content: '{"order_id":"A1","item":"lamp","status":"delivered","refunded":false}' },
      { role: "tool", tool_call_id: "call_0_1", content: '{"item":"lamp","refund_days":30}' },
    ]);
    expect(group.members[0]?.end).toEqual({ status: "completed" });
    expect(group.members[0]?.journal.map(({ rung }) => rung)).toEqual(["R1", "R0"]);
    expect(group.fidelity).toMatchObject({
      coverage: 1,
      realShare: 1,
      simulatedShare: 0,
      divergenceStep: null,
      weight: 1,
      decision: "drop",
    });
  });

  const forever = createScriptedPolicy(() => call("lookup_order", { order_id: "A1" }));
  const wandering = createScriptedPolicy((request) => call("refund_policy", { item: `x${turnOf(request)}` }));
  it.each([
    ["the same call in the same state", () => forever, {}, { status: "truncated", cause: "loop" }],
    [
      "the agent's own limit",
      () => wandering,
      { limits: { maxCalls: 4, maxSimulatedShare: 1, maxAttempts: 1 } },
      { status: "truncated", cause: "max_calls" },
    ],
    ["far more calls than recorded", () => wandering, {}, { status: "masked", cause: "too_many_calls" }],
    ["no honest answer", () => script([call("issue_refund", { order_id: "A1" })]), {}, { status: "masked", cause: "replay_miss" }],
    ["a server that stays down", () => script([{ result: retryable }]), {}, { status: "masked", cause: "infrastructure" }],
    ["a mistake of the agent, then its reply", () => script([call("no_such_tool", {})]), {}, { status: "completed" }],
  ])("ends on %s", async (_, policyOf, overrides, end) => {
    const group = await rolloutGroup(planOf(policyOf(), overrides));
    expect(group.members.map((member) => member.end)).toEqual([end, end, end]);
  });

  it("masks a member whose answers were mostly made up", async () => {
    // Of sixty one failed, for no reason known.
    const others = Array.from({ length: 59 }, (_, index) => `B${index}`).map((id) =>
      conversation(id, [lookup(id), refund(id)], { startMs: -1e6 }),
    );
    const failing = conversation("D", [{ ...refund("D"), result: { error: "no", order_id: "D" } }], { startMs: -1e6 });
    const plan = planOf(script([call("issue_refund", { order_id: "A1" })]), { cascade: cascadeFor([recorded, ...others, failing]) });
    const group = await rolloutGroup(plan);
    expect(group.members[0]?.journal.map(({ rung }) => rung)).toEqual(["R5"]);
    expect(group.members.map(({ end }) => end)).toEqual(Array(3).fill({ status: "masked", cause: "simulated_share" }));
  });

  it("tries again, and masks nothing that succeeded in the end", async () => {
    let tries = 0;
    const policy = createScriptedPolicy(() => ((tries += 1) % 3 === 0 ? { reply: "here" } : { result: retryable }));
    const group = await rolloutGroup(planOf(policy, { groupSize: 1 }));
    expect(group.members[0]?.end.status).toBe("completed");
    expect(policy.requests).toHaveLength(3);
    expect(new Set(policy.requests.map(({ sampling }) => sampling.seed)).size).toBe(1);
  });

  it("serves the recorded user turns in order", async () => {
    const [system, user, ...rest] = recorded.messages;
    const more = { role: "user", parts: [{ type: "text", content: "and thank you" }] };
    const talk = { ...recorded, messages: [system, user, ...rest, more, rest.at(-1)] as Trajectory["messages"] };
    const policy = script([{ reply: "Sure." }, { reply: "Welcome." }]);
    const group = await rolloutGroup(planOf(policy, { scenario: scenarioOf(talk), groupSize: 1 }));
    expect(group.members[0]?.messages.map(({ role }) => role)).toEqual(["system", "user", "assistant", "user", "assistant"]);
  });

  it("plays at most as many members at once as the limiter lets, and stops when told", async () => {
    const policy = script([call("lookup_order", { order_id: "A1" })]);
    await rolloutGroup(planOf(policy, { groupSize: 9, limiter: createLimiter(2) }));
    expect(policy.inFlightAtMost()).toBe(2);
    const stop = new AbortController();
    const waiting = createScriptedPolicy(() => ({ result: { ...retryable, retryAfterMs: 20_000 } as typeof retryable }));
    const running = rolloutGroup(planOf(waiting, { signal: stop.signal }));
    stop.abort();
    await expect(running).rejects.toThrow(/abort/i);
  });

  it("says what to do where an agent was to play and is not configured any more", async () => {
    const plan = planOf(script([{ reply: "hello" }]));
    const running = rolloutGroup({ ...plan, scenario: { ...plan.scenario, mode: "agent" }, agentDriver: null });
    await expect(running).rejects.toMatchObject({ code: "replay_agent_missing", fix: expect.stringContaining("replay.agent") as string });
  });

  it("gives other seeds to other members, iterations and runs, and the same bytes to the same plan", async () => {
    const plan = planOf(createScriptedPolicy((_, random) => ({ reply: `number ${random.integer(0, 1_000_000)}` })));
    const [one, again, later] = await Promise.all([rolloutGroup(plan), rolloutGroup(plan), rolloutGroup({ ...plan, iteration: 1 })]);
    expect(encodeGroup(again)).toEqual(encodeGroup(one));
    const seeds = [...one.members, ...later.members].map(({ seed }) => seed);
    expect(new Set(seeds).size).toBe(6);
    expect(encodeGroup(decodeGroup(encodeGroup(one)))).toEqual(encodeGroup(one));
  });
});

describe("encodeGroup", () => {
  it("does not depend on the order of keys, and carries lone surrogates", async () => {
    const group = await rolloutGroup(planOf(script([{ reply: "cut \ud83d" }])));
    const turned = Object.fromEntries(Object.entries(group).reverse()) as unknown as typeof group;
    expect(encodeGroup(turned)).toEqual(encodeGroup(group));
    expect(decodeGroup(encodeGroup(group)).members[0]?.messages.at(-1)?.parts).toEqual([{ type: "text", content: "cut \ud83d" }]);
  });
});

import { expect, test } from "vitest";
import { createAgentSession } from "../../src/rollout/agent/agent-session.ts";
import { cutPointOf } from "../../src/rollout/cut-point.ts";
import { createReplaySession } from "../../src/rollout/replay-session.ts";
import { startOf } from "../../src/rollout/start.ts";
import { cascadeFor, conversation, lookup, policyOf, refund, type Step } from "./build.ts";
import { planOf } from "./plan.ts";
import { createScriptedPolicy } from "./scripted-policy.ts";

const recorded = conversation("talk", [[lookup("A1"), policyOf("lamp")]], { says: "refund A1" });
const never = new AbortController().signal;

/** A rollout of an agent of its own: it makes the calls of each answer, last one first, until replay ends it. */
async function playedByAgent(turns: readonly (readonly Step[])[]) {
  const policy = createScriptedPolicy(({ messages }) => {
    const turn = turns[messages.filter(({ role }) => role === "assistant").length];
    return turn === undefined ? { reply: "Done." } : { calls: turn };
  });
  const plan = planOf(recorded, policy, { cascade: cascadeFor([recorded]) });
  const member = { ...plan, start: startOf(plan.scenario), rolloutId: "r-1", seed: 1 };
  const session = createAgentSession(member, createReplaySession(member));
  // Its own prompt has the day in it; its user says what the recorded one said.
  const messages: unknown[] = [
    { role: "system", content: "You work for a shop. Today is Monday." },
    { role: "user", content: "refund A1" },
  ];
  while (session.ended() === null) {
    const outcome = await session.chat({ messages }, never);
    if (outcome.status !== "answered") break;
    const { message } = outcome.answer;
    const calls = message.tool_calls ?? [];
    messages.push(message);
    if (calls.length === 0) break;
    const answers = await Promise.all(
      calls.toReversed().map(async (call) => [call.id, await session.callTool(call.function.name, call.function.arguments)] as const),
    );
    for (const { id } of calls) messages.push({ role: "tool", tool_call_id: id, content: new Map(answers).get(id)?.text ?? "" });
  }
  return session.finish({ status: "completed" });
}

test("an agent's rollout is cut at the model call whose tool calls nobody recorded, whatever its prompt says", async () => {
  const rollout = await playedByAgent([
    [lookup("A1"), policyOf("lamp")],
    [policyOf("lamp"), refund("A1")],
  ]);
  expect(rollout.end).toEqual({ status: "masked", cause: "replay_miss" });
  expect(rollout.journal.map(({ rung }) => rung)).toEqual(["R1", "R0", "R0", "R7"]);
  expect(cutPointOf(recorded.messages, rollout)).toEqual({ status: "found", call: 1 });
});

test("an agent that asked for something else before has left the recording", async () => {
  const rollout = await playedByAgent([[lookup("A1")], [refund("A1")]]);
  expect(rollout.end).toEqual({ status: "masked", cause: "replay_miss" });
  expect(cutPointOf(recorded.messages, rollout)).toEqual({ status: "none", reason: "left_recording" });
});

test("a rollout that came to its end was not cut", async () => {
  const rollout = await playedByAgent([[lookup("A1"), policyOf("lamp")]]);
  expect(rollout.end).toEqual({ status: "completed" });
  expect(cutPointOf(recorded.messages, rollout)).toEqual({ status: "none", reason: "not_cut" });
});

import { describe, expect, it, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { createOffTape } from "../../src/rollout/off-tape.ts";
import { asksTheSame } from "../../src/rollout/user/same-question.ts";
import { createSimulatedUser, inventedValues } from "../../src/rollout/user/simulated-user.ts";
import type { Message } from "../../src/trace/message.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { conversation, lookup } from "./build.ts";
import { planOf, scenarioOf } from "./plan.ts";
import { createScriptedPolicy } from "./scripted-policy.ts";
import { createScriptedLlm, piecesOf, type Reply } from "./scripted-llm.ts";

describe("asksTheSame", () => {
  test.each([
    ["What is your order number?", "Could you please tell me the order number?"],
    ["Sure! May I have your order number and email?", "I can help. What's your order number?"],
    ["Would you like a refund or a replacement?", "Do you want a replacement or a refund for A1?"],
    ["Please provide your order number.", "What's the order number?"],
    ["Your order A1 is delivered.", "It was delivered on Monday."],
    ["Done. Is there anything else I can help you with?", "All done!"],
    ["Wie lautet Ihre Bestellnummer?", "Bitte: wie lautet Ihre Bestellnummer?"],
    ["Shall I cancel order A1?", "Shall I cancel order B2?"],
  ])("%s = %s", (recorded, said) => {
    expect(asksTheSame(recorded, said)).toBe(true);
    expect(asksTheSame(said, recorded)).toBe(true);
  });

  test.each([
    ["What is your order number?", "Which email address did you use?"],
    ["What is your order number?", "I have refunded your order."],
    ["I have refunded your order.", "What is your order number?"],
    ["Shall I cancel the order?", "Shall I refund the shipping?"],
    ["Would you like a refund or a replacement?", "What colour was the lamp?"],
  ])("%s ≠ %s", (recorded, said) => {
    expect(asksTheSame(recorded, said)).toBe(false);
    expect(asksTheSame(said, recorded)).toBe(false);
  });
});

test.each([
  ["my order is A1", ["my order is A1, from 12 May"], []],
  ["My order is a1.", ["order #A1"], []],
  ["it is A2", ["my order is A1"], ["a2"]],
  ["write to ann@example.org", ["I am Ann"], ["ann@example.org"]],
  ["it cost 12 euros", ["it was cheap"], ["12"]],
  ["I am <email_2>", ["I am <email_1>"], ["<email_2>"]],
  ["see https://example.org/x", [], ["//example.org/x"]],
  ["I do not know", ["my order is A1"], []],
])("of %s, known %j, %j is made up", (reply, facts, invented) => {
  expect(inventedValues(reply, facts)).toEqual(invented);
});

const say = (role: "user" | "assistant", content: string): Message => ({ role, parts: [{ type: "text", content }] });
/** A refund that took two questions. */
const talk: Trajectory = {
  ...conversation("talk", [lookup("A1")]),
  messages: [
    { role: "system", parts: [{ type: "text", content: "You work for a shop." }] },
    say("user", "I want my money back"),
    say("assistant", "Sorry to hear that. What is your order number?"),
    say("user", "It is A1."),
    say("assistant", "Would you like a refund or a replacement?"),
    say("user", "a refund please"),
    say("assistant", "Done."),
  ],
};

/** What is said in a rollout in which the agent says `replies` in turn. */
async function talking(replies: readonly string[], script?: (asked: number) => Reply, groupSize = 1) {
  const policyServer = createScriptedPolicy(({ messages }) => ({
    reply: replies[messages.filter(({ role }) => role === "assistant").length] ?? "Bye.",
  }));
  let asked = 0;
  const llm = createScriptedLlm(() => script?.((asked += 1)) ?? "no script");
  const user = script === undefined ? null : createSimulatedUser({ llm, model: "person" }, { log: silentLog() });
  const offTape = createOffTape("shop", { simulator: null, liveReads: null, user });
  const group = await rolloutGroup(planOf(talk, policyServer, { scenario: scenarioOf(talk), offTape, groupSize }));
  const [member] = group.members;
  const users = member?.messages.filter(({ role }) => role === "user").map(({ parts }) => (parts[0] as { content: string }).content);
  return { group, member, users: users?.slice(1), end: member?.end, llm };
}

describe("the recorded user", () => {
  it("keeps with the scenario what each turn answered", () => {
    expect(scenarioOf(talk).userModel).toEqual({
      asked: ["Sorry to hear that. What is your order number?", "Would you like a refund or a replacement?"],
    });
  });

  it.each([
    [
      "answers what it was asked",
      ["Your order number?", "Refund or replacement?", "Done."],
      ["It is A1.", "a refund please"],
      { status: "completed" },
    ],
    ["leaves out what the agent need not ask", ["Refund or replacement?", "Done."], ["a refund please"], { status: "completed" }],
    ["answers nothing else", ["Which colour was it?"], [], { status: "completed", cut: "user_turn" }],
    ["says nothing before it is asked", ["I have refunded you."], [], { status: "completed", cut: "user_turn" }],
    [
      "has no more to say at its end",
      ["Your order number?", "Refund or replacement?", "Which bank?"],
      ["It is A1.", "a refund please"],
      { status: "completed" },
    ],
  ])("%s", async (_, replies, users, end) => {
    const talked = await talking(replies);
    expect(talked.users).toEqual(users);
    expect(talked.end).toEqual(end);
  });

  it("says its turns in order where nobody kept what they answered", async () => {
    const policyServer = createScriptedPolicy(() => ({ reply: "Which colour was it?" }));
    const { userModel: _, ...scenario } = scenarioOf(talk);
    const group = await rolloutGroup(planOf(talk, policyServer, { scenario, groupSize: 1 }));
    expect(group.members[0]?.messages.filter(({ role }) => role === "user")).toHaveLength(3);
  });
});

describe("a simulated user", () => {
  const replying = (text: string): Reply => JSON.stringify({ reply: text });

  it("answers what the recorded one was not asked, from what they said, and the rollout says so", async () => {
    const { users, end, member, llm, group } = await talking(
      ["Which colour was it?", "Your order number?", "Refund or replacement?", "Done."],
      () => replying("I do not know."),
      4,
    );
    expect(users).toEqual(["I do not know.", "It is A1.", "a refund please"]);
    expect(end).toEqual({ status: "completed" });
    expect(member?.simulatedUserTurns).toEqual([
      { message: 3, model: "person", promptHash: expect.stringMatching(/^[0-9a-f]{32}$/) as string },
    ]);
    // Four siblings, one question.
    expect(llm.questions).toHaveLength(1);
    expect(group.members.map(({ simulatedUserTurns }) => simulatedUserTurns)).toEqual(Array(4).fill(member?.simulatedUserTurns));
    const pieces = piecesOf(llm.questions[0] as never);
    expect(pieces.filter(({ head }) => head.startsWith("known")).map(({ body }) => body)).toEqual([
      "I want my money back",
      "It is A1.",
      "a refund please",
    ]);
    expect(pieces.find(({ head }) => head.startsWith("what the agent says"))?.body).toBe("Which colour was it?");
    expect(llm.questions[0]?.sources).toEqual([group.scenarioId]);
  });

  it("never states what the recorded one never stated, and the rollout ends where it would", async () => {
    const { users, end, llm } = await talking(["Which card was it?"], () => replying("It is card 4242."));
    expect(users).toEqual([]);
    expect(end).toEqual({ status: "completed", cut: "user_turn" });
    expect(llm.problems).toHaveLength(3);
    expect(llm.problems.join()).not.toContain("4242");
  });

  it("speaks twice at most: free conversation would pass for success", async () => {
    const { users, end } = await talking(["Which colour was it?", "Which shop?", "Which day?"], (asked) =>
      replying(asked === 1 ? "No idea." : "I forgot."),
    );
    expect(users).toEqual(["No idea.", "I forgot."]);
    expect(end).toEqual({ status: "completed", cut: "user_turn" });
  });

  it("masks the member while its server is down", async () => {
    const { end } = await talking(["Which colour was it?"], () => ({ status: "retryable" }));
    expect(end).toEqual({ status: "masked", cause: "infrastructure" });
  });
});

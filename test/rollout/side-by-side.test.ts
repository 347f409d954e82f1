import { describe, expect, it } from "vitest";
import type { JournalEntry } from "../../src/rollout/group.ts";
import { sideBySide } from "../../src/rollout/side-by-side.ts";
import type { Message } from "../../src/trace/message.ts";
import { conversation, lookup, policyOf, refund, type Step } from "./build.ts";

const messagesOf = (...steps: (Step | Step[])[]): readonly Message[] =>
  conversation("c", steps, { says: "please help me with my order" }).messages;
const answered = (tool: string, change: Partial<JournalEntry> = {}): JournalEntry => ({
  ...{ step: 0, tool, callKey: "", rung: "R1", confidence: 1, stateBefore: "", stateAfter: "", isError: false, ...change },
});
const recorded = messagesOf(lookup("A1"), refund("A1"));

describe("sideBySide", () => {
  it("is the same where calls, answers and words are", () => {
    const own = answered("lookup_order", { servedFrom: { tape: "c@1", entry: 0 } });
    const { turns, divergedAt } = sideBySide(recorded, { messages: recorded, journal: [own, answered("issue_refund")] });
    expect(divergedAt).toBeNull();
    expect(turns.map(({ difference }) => difference)).toEqual(["same", "same", "same"]);
    expect(turns[0]?.recorded).toEqual({
      user: "please help me with my order",
      text: "",
      calls: [
        {
          tool: "lookup_order",
          arguments: '{"order_id":"A1"}',
          result: '{"order_id":"A1","item":"lamp","status":"delivered","refunded":false}',
          answered: null,
        },
      ],
    });
    expect(turns[0]?.rollout?.calls[0]?.answered).toEqual({
      ...{ rung: "R1", confidence: 1, isError: false, servedFrom: { tape: "c@1", entry: 0 } },
    });
  });

  it.each([
    { what: "an argument", messages: messagesOf(lookup("A2"), refund("A1")), differences: ["calls", "same", "same"], at: 0 },
    { what: "an answer", messages: messagesOf(lookup("A1", "lost"), refund("A1")), differences: ["answers", "same", "same"], at: 0 },
    { what: "an end before", messages: messagesOf(lookup("A1")), differences: ["same", "calls", "only_recorded"], at: 1 },
    {
      what: "one turn more",
      messages: messagesOf(lookup("A1"), refund("A1"), policyOf("lamp")),
      differences: ["same", "same", "calls", "only_rollout"],
      at: 2,
    },
  ])("diverges at turn $at with $what", ({ messages, differences, at }) => {
    const compared = sideBySide(recorded, { messages, journal: [] });
    expect(compared.turns.map(({ difference }) => difference)).toEqual(differences);
    expect(compared.divergedAt).toBe(at);
  });

  it("does not call other words a divergence", () => {
    const messages = [...recorded.slice(0, -1), { role: "assistant", parts: [{ type: "text" as const, content: "All done." }] }];
    const compared = sideBySide(recorded, { messages, journal: [] });
    expect(compared.turns.at(-1)?.difference).toBe("words");
    expect(compared.divergedAt).toBeNull();
  });

  it("gives parallel calls their own answers, and none to what was never asked", () => {
    const messages = messagesOf([lookup("A1"), policyOf("lamp")], refund("A1"));
    const journal = [answered("lookup_order"), answered("refund_policy", { rung: "R0" })];
    const rungs = sideBySide(recorded, { messages, journal }).turns.map(({ rollout }) =>
      rollout?.calls.map(({ answered: source }) => source?.rung ?? null),
    );
    expect(rungs).toEqual([["R1", "R0"], [null], []]);
  });
});

import { describe, expect, it } from "vitest";
import { rankOf } from "../../src/scenario/rank.ts";
import { signalsOf, slowAbove, type SignalInput } from "../../src/scenario/signals.ts";
import type { Signal } from "../../src/scenario/scenario.ts";
import type { Message } from "../../src/trace/message.ts";
import { tapeOf } from "../../src/trajectory/record-tape.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { conversation, lookup, notFound, type Step } from "../rollout/build.ts";

const say = (role: string, content: string): Message => ({ role, parts: [{ type: "text", content }] });
const calling = (tool: string): Step => ({ tool, args: {}, result: {} });

function signals(trajectory: Trajectory, input: Partial<SignalInput> = {}): readonly Signal[] {
  const { entries } = tapeOf(trajectory, { profiles: new Map(), split: "train" });
  return signalsOf({ trajectory, entries, feedback: [], slowAboveMs: null, transferTools: [], ...input });
}
const talk = (...turns: readonly [string, string][]): Trajectory =>
  conversation("c", [], { overrides: { messages: turns.map(([role, content]) => say(role, content)) } });

describe("signalsOf", () => {
  const plain = conversation("c", [lookup("A1")]);
  it.each<[string, Trajectory, Partial<SignalInput>, Signal[]]>([
    ["nothing wrong", plain, {}, []],
    ["a complaint", plain, { feedback: [{ value: false }] }, ["negative_feedback"]],
    ["a low number", plain, { feedback: [{ value: 0.4 }] }, ["negative_feedback"]],
    ["praise", plain, { feedback: [{ value: true }, { value: 0.5 }] }, []],
    ["a tool's error", conversation("c", [notFound("Z9")]), {}, ["tool_error"]],
    ["an answer cut off", conversation("c", [], { overrides: { finishReason: "length" } }), {}, ["cut_off"]],
    ["the same call twice", conversation("c", [lookup("A1"), lookup("A1")]), {}, ["retry"]],
    ["another call", conversation("c", [lookup("A1"), lookup("A2")]), {}, []],
    ["a hand-over", conversation("c", [calling("transfer_to_human")]), {}, ["transfer"]],
    ["one in camel case", conversation("c", [calling("escalateToTier2")]), {}, ["transfer"]],
    ["money that moves", conversation("c", [calling("transfer_funds")]), {}, []],
    ["a tool of the operator's list", conversation("c", [calling("zap")]), { transferTools: ["zap"] }, ["transfer"]],
    ["slow", plain, { slowAboveMs: 1_999 }, ["slow"]],
    ["not slow", plain, { slowAboveMs: 2_000 }, []],
    [
      "a user who asks again",
      talk(["user", "where is my order A17 please"], ["assistant", "Hello."], ["user", "Where is my order A17, please?!"]),
      {},
      ["user_repeats"],
    ],
    ["a user who says yes twice", talk(["user", "yes please"], ["assistant", "Ok."], ["user", "yes please"]), {}, []],
    [
      "an agent that asks again",
      talk(
        ["user", "help"],
        ["assistant", "What is the number of your order?"],
        ["user", "A1"],
        ["assistant", "What is the number of your order?"],
      ),
      {},
      ["agent_repeats"],
    ],
    [
      "an agent's courtesy",
      talk(["user", "help"], ["assistant", "I am happy to help you."], ["user", "A1"], ["assistant", "I am happy to help you."]),
      {},
      [],
    ],
  ])("%s", (_, trajectory, input, expected) => {
    expect(signals(trajectory, input)).toEqual(expected);
  });
});

describe("slowAbove", () => {
  const lasting = (...durations: readonly number[]): Trajectory[] =>
    durations.map((durationMs, index) => conversation(`d${index}`, [], { overrides: { startedAtMs: 0, endedAtMs: durationMs } }));

  it.each<[string, readonly number[], number | null]>([
    // Median 30, deviations 20 10 0 10 970: median 10.
    ["median and five deviations", [10, 20, 30, 40, 1_000], 80],
    // Median 1,000, no deviation: 2 % of it.
    ["some room where all are equal", [1_000, 1_000, 1_000, 1_000, 1_000, 1_000], 1_100],
    ["nobody can say of four", [1, 2, 3, 4], null],
  ])("%s", (_, durations, expected) => {
    expect(slowAbove(lasting(...durations))).toBe(expected);
  });

  it("leaves out conversations with pauses of the user's in them", () => {
    const paused = talk(["user", "a"], ["assistant", "b"], ["user", "c"]);
    expect(slowAbove(Array<Trajectory>(9).fill(paused))).toBeNull();
    expect(signals(paused, { slowAboveMs: 0 })).not.toContain("slow");
  });
});

describe("rankOf", () => {
  const DAY = 86_400_000;
  const rank = (given: readonly Signal[], past: { spread: number; meanReward: number } | null = null, days = 0) =>
    rankOf({
      ...{ signals: given, endedAtMs: 100 * DAY - days * DAY, nowMs: 100 * DAY, scenarioId: "s", cluster: "c", seed: 1 },
      history: new Map(past === null ? [] : [["s", past]]),
    });
  /** The draw of this seed and scenario is below 0.01. */
  const near = (value: number): unknown => expect.closeTo(value + 0.005, 2);

  it.each<[string, ReturnType<typeof rank>, number, Signal[]]>([
    ["new and recent", rank([]), 0.5 + 1, ["untried", "recent"]],
    ["a complaint of the day before", rank(["negative_feedback"], null, 1), 2 + 0.5 + 0.5, ["negative_feedback", "untried"]],
    [
      "an error and an answer cut off are one failure",
      rank(["tool_error", "cut_off"], null, 1),
      1 + 0.5 + 0.5,
      ["tool_error", "cut_off", "untried"],
    ],
    ["mixed before", rank([], { spread: 0.3, meanReward: 0.5 }, 1), 1.2 + 0.5, ["mixed_before"]],
    ["solved before", rank(["transfer"], { spread: 0, meanReward: 0.9 }, 1), 1 - 2 + 0.5, ["transfer"]],
    ["failed before", rank([], { spread: 0, meanReward: 0.1 }, 1), -0.5 + 0.5, []],
  ])("%s", (_, found, expected, reasons) => {
    expect(found).toEqual({ rank: near(expected), selectedFor: reasons });
  });
});

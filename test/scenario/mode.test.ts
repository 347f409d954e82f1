import { describe, expect, test } from "vitest";
import { predictedCoverage } from "../../src/scenario/coverage.ts";
import { withModes, type ModeInput } from "../../src/scenario/mode.ts";
import { pivotsOf } from "../../src/scenario/pivots.ts";
import type { GroupHistory } from "../../src/scenario/rank.ts";
import type { Scenario } from "../../src/scenario/scenario.ts";
import { learnProfiles } from "../../src/trajectory/learn-profiles.ts";
import { tapeIdOf, tapeOf, wholeScenarioOf } from "../../src/trajectory/record-tape.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { conversation, lookup, notFound, policyOf, refund, shopConfigs, type Step } from "../rollout/build.ts";
import { scenarioOf } from "../rollout/plan.ts";

const tapesOf = (trajectories: readonly Trajectory[]) => {
  const profiles = learnProfiles(shopConfigs, trajectories);
  return { profiles, tapes: trajectories.map((one) => tapeOf(one, { profiles, split: "train" })) };
};
const coverage = (...runs: readonly (readonly Step[])[]): number => {
  const { profiles, tapes } = tapesOf(runs.map((steps, at) => conversation(`t${at}`, steps)));
  return predictedCoverage(tapes[0], tapes.slice(1), profiles);
};

describe("predicted coverage", () => {
  const own = [lookup("A1"), policyOf("lamp"), refund("A1")];
  test.each<[string, readonly (readonly Step[])[], number]>([
    ["nothing to call", [[]], 1],
    ["one tape: the measured share, and constants in full", [own], (0.51 + 1 + 0.51) / 3],
    ["another customer who did the same", [own, [lookup("B2"), policyOf("lamp"), refund("B2")]], 1],
    // Looked up again after the refund: this tape does not show that.
    ["another who looked again after the write", [own, [lookup("B2"), policyOf("lamp"), refund("B2"), lookup("B2")]], 3 / 4],
    // The refund is known before any write only, and the second is after one.
    ["another who wrote twice", [own, [refund("B2"), refund("B2")]], 1 / 2],
    ["a key that is another's second", [own, [lookup("B2"), lookup("C3")]], 1 / 2],
    ["a constant that nobody else asked", [[lookup("A1")], [policyOf("lamp")]], 0],
    ["a constant that somebody else asked for another item", [[lookup("A1")], [policyOf("lamp")], [policyOf("mug")]], 1],
    ["the very call of a third, in its state", [[policyOf("lamp")], [lookup("B2")], [lookup("B2")]], 1],
    ["a run without calls", [own, []], 1],
    ["the mean over runs", [own, [lookup("B2")], [refund("C3"), refund("C3")]], (1 + 1 / 2) / 2],
  ])("of %s", (_, runs, expected) => {
    expect(coverage(...runs)).toBeCloseTo(expected, 10);
  });
});

describe("the choice of a mode", () => {
  const one = conversation("one", [lookup("A1")]);
  const other = conversation("other", [lookup("B2")]);
  const unlike = conversation("unlike", [refund("B2"), refund("B2")]);
  const choose = (trajectories: readonly Trajectory[], overrides: Partial<ModeInput> = {}): Scenario => {
    const scenario = { ...scenarioOf(trajectories[0]!), tapes: trajectories.map(tapeIdOf) };
    const [chosen] = withModes([scenario], {
      ...{ trajectories, branches: trajectories, hasAgent: false, minPredictedCoverage: 0.6 },
      ...tapesOf(trajectories),
      ...overrides,
    });
    return chosen!;
  };

  test.each<[string, Scenario, Pick<Scenario, "mode" | "modeReason">]>([
    ["the agent where there is one", choose([one, unlike], { hasAgent: true }), { mode: "agent", modeReason: "agent_configured" }],
    ["the loop where tapes cover", choose([one, other]), { mode: "loop", modeReason: "covered" }],
    ["steps where they do not", choose([one, unlike]), { mode: "step", modeReason: "low_coverage" }],
    [
      "the loop where they do not and need not",
      choose([one, unlike], { minPredictedCoverage: 0 }),
      { mode: "loop", modeReason: "covered" },
    ],
    ["steps for one tape alone", choose([one]), { mode: "step", modeReason: "low_coverage" }],
    ["steps for a sub-agent", choose([{ ...one, parentId: "p" }, other]), { mode: "step", modeReason: "requests_differ" }],
    [
      "steps where a call left no answer in the transcript",
      choose([{ ...one, usage: { ...one.usage, calls: 3 } }, other]),
      { mode: "step", modeReason: "requests_differ" },
    ],
    [
      "steps where the conversation has another branch",
      choose([one, other], { branches: [one, { id: "retry", conversationId: "one" }] }),
      { mode: "step", modeReason: "requests_differ" },
    ],
  ])("is %s", (_, { mode, modeReason, predictedCoverage: predicted }, expected) => {
    expect({ mode, modeReason }).toEqual(expected);
    expect(predicted).toBeGreaterThanOrEqual(0);
  });
});

describe("pivots", () => {
  const talk = conversation("talk", [lookup("A1"), notFound("A9"), lookup("A1"), lookup("A1"), refund("A1")]);
  const scenario = { ...scenarioOf(talk), mode: "step" as const };
  const [tape] = tapesOf([talk]).tapes;
  const pivots = (count: number, history: GroupHistory = new Map(), seed = 1) =>
    pivotsOf({ scenario, messages: talk.messages, entries: tape!.entries, history, count, seed });
  const callsOf = (found: readonly Scenario[]) => found.map(({ pivot }) => pivot?.call);

  test("are the conversation's model calls, each after what was recorded before it", () => {
    const all = pivots(99);
    expect(callsOf(all)).toEqual([0, 1, 2, 3, 4, 5]);
    for (const { id, start, pivot, recordedCalls } of all) {
      expect([id, wholeScenarioOf(id), recordedCalls, start.userTurns]).toEqual([`${scenario.id}.${pivot?.call}`, scenario.id, 1, []]);
      expect([...start.messages, pivot?.recorded]).toEqual(talk.messages.slice(0, start.messages.length + 1));
    }
  });

  test("are those beside a failure first, and as many as asked for", () => {
    expect(callsOf(pivots(2))).toEqual([1, 2]);
  });

  test("are those with mixed outcomes before that; without spread they come last", () => {
    const history = new Map([
      [`${scenario.id}.4`, { spread: 0.4, meanReward: 0.5 }],
      [`${scenario.id}.1`, { spread: 0, meanReward: 1 }],
    ]);
    expect(callsOf(pivots(2, history))).toEqual([2, 4]);
    expect(callsOf(pivots(5, history))).toEqual([0, 2, 3, 4, 5]);
  });

  test("are drawn by the seed where nothing else tells them apart", () => {
    const plain = conversation("plain", [lookup("A1"), lookup("A1"), lookup("A1"), lookup("A1")]);
    const drawn = (seed: number) =>
      callsOf(
        pivotsOf({
          scenario: { ...scenarioOf(plain), mode: "step" },
          messages: plain.messages,
          entries: [],
          history: new Map(),
          count: 2,
          seed,
        }),
      );
    expect(drawn(1)).toEqual(drawn(1));
    expect(new Set([1, 2, 3, 4, 5, 6, 7, 8].map((seed) => String(drawn(seed)))).size).toBeGreaterThan(1);
  });
});

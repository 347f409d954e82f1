import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { groupSignal } from "../../src/reward/signal.ts";
import type { JournalEntry, Rollout } from "../../src/rollout/group.ts";
import { rollout } from "./groups.ts";

const BOUNDS = { minSpread: 0.05, judgeDeviation: 0 };
const served = (...rungs: JournalEntry["rung"][]): Rollout => rollout([], { journal: rungs.map((rung) => ({ rung }) as JournalEntry) });
const masked = (): Rollout => rollout([], { end: { status: "masked", cause: "infrastructure" } });
const members = (n: number) => Array.from({ length: n }, () => served("R1"));

test.each([
  ["spread enough", [0, 0, 1, 1], BOUNDS, true, undefined],
  ["all equal, in numbers whose mean is not exact", [0.1, 0.1, 0.1, 0.1], BOUNDS, false, "equal_rewards"],
  // Deviation of .50 .54 .58 is .0327: under .05.
  ["below the floor", [0.5, 0.54, 0.58], BOUNDS, false, "spread_below_noise"],
  // Deviation .125 of .5 .5 .75 .75; a judge that repeats itself within .1 needs .15.
  ["within the judge's own noise", [0.5, 0.5, 0.75, 0.75], { minSpread: 0.05, judgeDeviation: 0.1 }, false, "spread_below_noise"],
  ["above the judge's own noise", [0.5, 0.5, 0.75, 0.75], { minSpread: 0.05, judgeDeviation: 0.08 }, true, undefined],
  ["two members", [0, 1], BOUNDS, false, "too_few_members"],
] as const)("%s", (_, rewards, bounds, keep, reason) => {
  const signal = groupSignal({ members: members(rewards.length) }, rewards, bounds);
  expect(signal.keep ? undefined : signal.reason).toBe(reason);
  expect(signal.keep).toBe(keep);
});

test("masked and unscored members are in no statistic, and at least half must be left", () => {
  const group = { members: [...members(3), masked(), masked(), masked()] };
  expect(groupSignal(group, [0, 0.5, 1, null, null, null], BOUNDS)).toMatchObject({ keep: true, deviation: expect.closeTo(0.408248, 6) });
  expect(groupSignal({ members: [...group.members, masked()] }, [0, 0.5, 1, null, null, null, null], BOUNDS)).toMatchObject({
    keep: false,
    reason: "too_few_members",
  });
  // A masked member's reward, should it have one, counts for nothing.
  expect(groupSignal(group, [0, 0.5, 1, 1, 1, 1], BOUNDS)).toMatchObject({ deviation: expect.closeTo(0.408248, 6) });
});

test("better members that are simply the simulated ones are dropped", () => {
  const real = served("R1", "R2");
  const simulated = served("R5", "R1");
  const group = { members: [simulated, simulated, real, real] };
  expect(groupSignal(group, [1, 0.9, 0.1, 0], BOUNDS)).toMatchObject({ keep: false, reason: "simulator_correlated_reward" });
  expect(groupSignal(group, [0, 0.1, 0.9, 1], BOUNDS)).toMatchObject({ keep: false, reason: "simulator_correlated_reward" });
  expect(groupSignal(group, [1, 0, 1, 0], BOUNDS)).toMatchObject({ keep: true });
});

property.prop([fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 3, maxLength: 10 })])(
  "a group is kept exactly when its deviation reaches the floor",
  (rewards) => {
    const signal = groupSignal({ members: members(rewards.length) }, rewards, BOUNDS);
    expect(signal.keep).toBe((signal.deviation ?? 0) >= 0.05);
  },
);

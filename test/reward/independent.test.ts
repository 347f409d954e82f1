import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { fc, test as property } from "@fast-check/vitest";
import { checkAttempts, loadRewardCheck } from "../../src/reward/independent/check-module.ts";
import { combineRewards, feedbackScore } from "../../src/reward/independent/combine.ts";
import { repeatDeviation } from "../../src/reward/repeat-deviation.ts";
import { messagesOf, rollout } from "./groups.ts";

const say = (words: string) => rollout(messagesOf([{ say: words }], "Count."));
const masked = rollout(messagesOf([], "Count."), { end: { status: "masked", cause: "infrastructure" } });
const [one, two, three] = [say("one"), say("two"), say("three")];

describe("a check and the judge", () => {
  const judged = [0.8, 0.2, null];
  const members = [one, two, masked];
  const combined = (combine: "replace" | "add" | "min", check: (number | null)[]) =>
    combineRewards(members, judged, { config: { combine, weight: 0.5 }, check, recorded: null });

  test.each([
    ["replace", [0.5, 1, null], [0.5, 1, null]],
    ["add", [0.5, 1, null], [1.05, 0.7, null]],
    ["min", [0.5, 1, null], [0.5, 0.2, null]],
  ] as const)("%s", (combine, check, expected) => {
    const { rewards, independent } = combined(combine, [...check]);
    for (const [index, reward] of rewards.entries()) {
      if (reward === null) expect(expected[index]).toBeNull();
      else expect(reward).toBeCloseTo(expected[index] ?? -1, 12);
    }
    expect(independent).toEqual({ check, combined: combine, feedback: null });
  });

  test("that cannot tell of one member is used for none, and says so", () => {
    for (const combine of ["replace", "add", "min"] as const) {
      expect(combined(combine, [0, null, null])).toEqual({
        rewards: judged,
        independent: { check: [0, null, null], combined: null, feedback: null },
      });
    }
  });
});

describe("feedback on the recorded conversation", () => {
  const config = { combine: "min", weight: 1 } as const;
  const bound = (feedback: number | null, recorded = say("two")) =>
    combineRewards([one, two, three, say("two"), masked], [0.9, 0.8, 0.1, 0.8, null], {
      config,
      check: null,
      recorded: { attempt: recorded, feedback },
    });

  test("bounds the members that are the same attempt, whatever ids their calls have", () => {
    expect(bound(0.3)).toEqual({
      rewards: [0.9, 0.3, 0.1, 0.3, null],
      independent: { check: null, combined: null, feedback: { value: 0.3, members: [1, 3] } },
    });
  });

  test("is no bonus, and says nothing of others", () => {
    expect(bound(1).rewards).toEqual([0.9, 0.8, 0.1, 0.8, null]);
    expect(bound(0, say("four"))).toMatchObject({
      rewards: [0.9, 0.8, 0.1, 0.8, null],
      independent: { feedback: { value: 0, members: [] } },
    });
    expect(bound(null)).toMatchObject({ rewards: [0.9, 0.8, 0.1, 0.8, null], independent: { feedback: null } });
  });

  test.each([
    [true, 1],
    [false, 0],
    [0.25, 0.25],
    [1, 1],
    [5, null],
    [-1, null],
    [Number.NaN, null],
    ["good", null],
    [{ demonstration: [] }, null],
  ])("%j as a score is %j", (value, score) => {
    expect(feedbackScore(value)).toBe(score);
  });
});

describe("a module with a check", () => {
  const directory = mkdtempSync(join(tmpdir(), "reward-check-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const load = (name: string, source: string) => {
    writeFileSync(join(directory, `${name}.mjs`), source);
    return loadRewardCheck(join(directory, `${name}.mjs`));
  };

  test("sees transcripts and ends only, each attempt once, and no masked one", async () => {
    const check = await load(
      "counts",
      `let calls = 0; export const checkAttempt = (attempt) => { calls += 1; if (Object.keys(attempt).join() !== "messages,end") throw new Error("more"); return calls / 10; };`,
    );
    expect(checkAttempts(check, [one, masked, two, say("one")])).toEqual([0.1, null, 0.2, 0.1]);
  });

  test.each([
    ["throws", "() => { throw new Error('no'); }", /checkAttempt threw: no/],
    ["gives a word", "() => 'good'", /gave "good"/],
    ["gives nothing", "() => undefined", /gave undefined/],
    ["gives NaN", "() => NaN", /gave null/],
    ["gives too much", "() => 7", /gave 7/],
    ["gives a promise", "async () => 1", /gave \{\}/],
  ])("that %s is an error, not a number", async (name, source, message) => {
    const check = await load(name.replaceAll(" ", "-"), `export const checkAttempt = ${source};`);
    expect(() => checkAttempts(check, [one])).toThrowError(
      expect.objectContaining({ code: "reward_check_invalid", message: expect.stringMatching(message) }),
    );
  });

  test("that is not there, or exports no check, is said at once", async () => {
    await expect(loadRewardCheck(join(directory, "none.mjs"))).rejects.toMatchObject({ code: "reward_check_invalid" });
    await expect(load("empty", "export const check = 1;")).rejects.toMatchObject({
      code: "reward_check_invalid",
      message: expect.stringMatching(/checkAttempt/),
    });
  });
});

describe("how far a judge is from itself", () => {
  test.each([
    ["nothing was judged twice", [], null],
    ["one attempt alone has no group", [{ first: [0.5], second: [0.7] }], null],
    ["the same scores", [{ first: [0.1, 0.9], second: [0.1, 0.9] }], 0],
    // A shift of the whole group: the baseline takes it out.
    ["all a tenth higher", [{ first: [0.1, 0.4, 0.8], second: [0.2, 0.5, 0.9] }], 0],
    // d = .2, −.2: Σ(d − 0)² = .08, over 2 × 1.
    ["one up, one down", [{ first: [0.4, 0.6], second: [0.6, 0.4] }], 0.2],
    // .08 and, of d = .3, 0, 0 around .1: .04 + .01 + .01 = .06; (.08 + .06) / (2 × (1 + 2)) = .02333.
    [
      "two groups, pooled",
      [
        { first: [0.4, 0.6], second: [0.6, 0.4] },
        { first: [0, 0, 0], second: [0.3, 0, 0] },
      ],
      Math.sqrt(0.14 / 6),
    ],
  ])("%s", (_, repeats, expected) => {
    const deviation = repeatDeviation(repeats);
    if (expected === null) expect(deviation).toBeNull();
    else expect(deviation).toBeCloseTo(expected, 12);
  });

  const score = fc.double({ min: 0, max: 1, noNaN: true });
  const pairs = fc.array(fc.tuple(score, score), { minLength: 2, maxLength: 8 });

  property.prop([fc.array(pairs, { minLength: 1, maxLength: 5 }), score, fc.double({ min: 0.1, max: 10, noNaN: true })])(
    "does not see a shift of a group, which way the askings went, or who is who; and grows with the differences",
    (groups, shift, scale) => {
      const of = (change: (first: number, second: number) => number) =>
        repeatDeviation(
          groups.map((group) => ({ first: group.map(([first]) => first), second: group.map(([first, second]) => change(first, second)) })),
        ) ?? -1;
      const deviation = of((_, second) => second);
      expect(deviation).toBeGreaterThanOrEqual(0);
      expect(of((_, second) => second + shift)).toBeCloseTo(deviation, 9);
      expect(of((first, second) => first + scale * (second - first))).toBeCloseTo(scale * deviation, 9);
      const swapped = groups.map((group) => ({ first: group.map(([, second]) => second), second: group.map(([first]) => first) }));
      expect(repeatDeviation(swapped)).toBeCloseTo(deviation, 9);
      const turned = groups.map((group) => ({
        first: group.map(([first]) => first).reverse(),
        second: group.map(([, second]) => second).reverse(),
      }));
      expect(repeatDeviation(turned)).toBeCloseTo(deviation, 9);
    },
  );
});

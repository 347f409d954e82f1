import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { bootstrap, kendallTauB, ratioOf, repeatVariance, wilson, withinSlope } from "../../../src/reward/calibration/statistics.ts";

describe("Wilson's interval", () => {
  // Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
  test.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])("%i of %i", (count, of, low, high) => {
    const interval = wilson(count / of, of);
    expect(interval.low).toBeCloseTo(low, 4);
    expect(interval.high).toBeCloseTo(high, 4);
  });

  property.prop([fc.integer({ min: 1, max: 500 }), fc.double({ min: 0, max: 1, noNaN: true })])(
    "holds its share and is never empty",
    (n, share) => {
      const { value, low, high } = wilson(share, n);
      expect(low).toBeLessThanOrEqual(value + 1e-12);
      expect(high).toBeGreaterThanOrEqual(value - 1e-12);
      expect(high - low).toBeGreaterThan(0);
    },
  );
});

describe("Kendall's τ-b", () => {
  test.each([
    ["the same order", [1, 2, 3], [10, 20, 30], 1],
    ["the opposite order", [1, 2, 3], [3, 2, 1], -1],
    // Pairs (1,2) (1,3) (2,3): concordant, concordant, discordant.
    ["one pair of three swapped", [1, 2, 3], [1, 3, 2], 1 / 3],
    // Six pairs: (1,2) tied in x; (3,4) tied in y; the other four concordant: 4 / √(5 · 5).
    ["a tie on each side", [1, 1, 2, 3], [1, 2, 3, 3], 0.8],
  ])("%s", (_, x, y, tau) => {
    expect(kendallTauB(x, y)).toBeCloseTo(tau, 12);
  });

  test("of one side that is all tied is not defined", () => {
    expect(kendallTauB([1, 2, 3], [5, 5, 5])).toBeNull();
    expect(kendallTauB([4, 4], [1, 2])).toBeNull();
  });
});

test("the within slope takes each thing's own level out", () => {
  // Thing 1: (0, .5) (1, .7); thing 2: (0, .1) (1, .1). Σ = .5·.2 + 0 over .5 + .5: slope .1, whatever the levels.
  const things = [
    [
      { x: 0, y: 0.5 },
      { x: 1, y: 0.7 },
    ],
    [
      { x: 0, y: 0.1 },
      { x: 1, y: 0.1 },
    ],
  ];
  expect(ratioOf([withinSlope(things)])).toBeCloseTo(0.1, 12);
  expect(
    ratioOf([
      withinSlope([
        [{ x: 0.5, y: 1 }],
        [
          { x: 0.5, y: 0 },
          { x: 0.5, y: 1 },
        ],
      ]),
    ]),
  ).toBeNull();
});

test("the repeat variance pools what repeats differ by", () => {
  // (.4, .6): squares .02, one degree; (.5, .5, .8): mean .6, squares .06, two degrees. .08 / 3.
  expect(
    ratioOf([
      repeatVariance([
        [0.4, 0.6],
        [0.5, 0.5, 0.8],
      ]),
    ]),
  ).toBeCloseTo(0.08 / 3, 12);
  expect(ratioOf([repeatVariance([[0.4], []])])).toBeNull();
});

describe("the bootstrap", () => {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

  test("is the same for the same seed, and another for another", () => {
    const units = Array.from({ length: 30 }, (_, index) => (index % 7) / 7);
    expect(bootstrap(units, mean, 1)).toEqual(bootstrap(units, mean, 1));
    expect(bootstrap(units, mean, 1)).not.toEqual(bootstrap(units, mean, 2));
  });

  test("comes near the interval that is known for a mean", () => {
    // 100 zeros and 100 ones: .5 ± 1.96 · .5/√200 = .5 ± .0693.
    const found = bootstrap(
      Array.from({ length: 200 }, (_, index) => index % 2),
      mean,
      3,
    );
    expect(found?.low).toBeCloseTo(0.4307, 1.7);
    expect(found?.high).toBeCloseTo(0.5693, 1.7);
    expect(found?.high ?? 0).toBeGreaterThan(0.55);
  });

  test("of equal units is the point", () => {
    expect(bootstrap([2, 2, 2], mean, 1)).toEqual({ value: 2, low: 2, high: 2 });
  });
});

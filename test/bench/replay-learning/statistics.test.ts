import { expect, it } from "vitest";
import { conclude, type Paired } from "./statistics.ts";

const of = (successes: number): boolean[] => Array.from({ length: 100 }, (_, index) => index < successes);
const pair = (seed: number, start: number, inTruth: number, onReplay: number): Paired => ({
  seed,
  start: of(start),
  inTruth: of(inTruth),
  onReplay: of(onReplay),
});

it("concludes by the paired t interval", () => {
  // D = .35 − .8 × .4 = .03 and .37 − .8 × .4 = .05: mean .04, deviation .01414, lower end .04 − 3.078 × .01414 / √2 = .00922.
  const conclusion = conclude([pair(1, 40, 80, 75), pair(2, 40, 80, 77)]);
  expect(conclusion.difference.mean).toBeCloseTo(0.04, 6);
  expect(conclusion.difference.lower).toBeCloseTo(0.00922, 4);
  expect(conclusion.ratio).toBeCloseTo(0.9, 6);
  expect(conclusion).toMatchObject({ isInformative: true, isVerified: true, seeds: 2, scenarios: 100 });
  expect(conclusion.ratioInterval[0]).toBeLessThan(0.9);
  expect(conclusion.ratioInterval[1]).toBeGreaterThan(0.9);
});

it.each([
  ["replay gained less", [pair(1, 40, 80, 60), pair(2, 40, 80, 62)], { isInformative: true, isVerified: false }],
  ["the true night gained too little to compare", [pair(1, 70, 80, 80), pair(2, 70, 80, 80)], { isInformative: false, isVerified: false }],
  ["the true night left nothing to gain", [pair(1, 60, 96, 96), pair(2, 60, 96, 96)], { isInformative: false, isVerified: false }],
])("says so where %s", (_, pairs, expected) => expect(conclude(pairs)).toMatchObject(expected));

it("refuses one seed, and seeds that were measured differently", () => {
  expect(() => conclude([pair(1, 1, 2, 3)])).toThrow(RangeError);
  expect(() => conclude([pair(1, 1, 2, 3), { ...pair(2, 1, 2, 3), start: [true] }])).toThrow(RangeError);
});

import { expect, test } from "vitest";
import { PRODUCTION, QUICKSTART, simulate, wilson } from "../bench/canary/simulate.ts";

const RUNS = 400;
const effect = (stable: number, candidate: number) => ({
  success: (arm: "stable" | "candidate") => (arm === "candidate" ? candidate : stable),
});

test("+30 points: promoted, within the quickstart's cap", () => {
  const { promoted, medianUnits } = simulate(effect(0.55, 0.85), QUICKSTART, RUNS, 1);
  expect(promoted / RUNS).toBeGreaterThanOrEqual(0.97);
  expect(medianUnits).toBeLessThanOrEqual(115);
});

test("no difference: promoted no more often than alpha allows, looking every five units", () => {
  const { promoted, rolledBack } = simulate(effect(0.6, 0.6), QUICKSTART, RUNS, 2);
  // The claim fails only if even the interval's lower end is above alpha.
  expect(wilson(promoted, RUNS).low).toBeLessThanOrEqual(0.05);
  expect(wilson(rolledBack, RUNS).low).toBeLessThanOrEqual(0.05);
});

test("-30 points: rolled back for harm, promoted never", () => {
  const { promoted, rolledBackForHarm } = simulate(effect(0.85, 0.55), QUICKSTART, RUNS, 3);
  expect(rolledBackForHarm / RUNS).toBeGreaterThanOrEqual(0.97);
  expect(promoted).toBe(0);
});

test("outcomes that go missing only make it slower to promote, never easier", () => {
  const whole = simulate(effect(0.6, 0.6), QUICKSTART, RUNS, 4);
  const holes = simulate({ ...effect(0.6, 0.6), missing: 0.2 }, QUICKSTART, RUNS, 4);
  expect(holes.promoted).toBeLessThanOrEqual(whole.promoted);
});

test("a planted -10 points at production's defaults is rolled back for harm, not by the cap", () => {
  const runs = 100;
  const { promoted, rolledBackForHarm } = simulate(effect(0.7, 0.6), PRODUCTION, runs, 5);
  expect(rolledBackForHarm).toBeGreaterThanOrEqual(98);
  // About 4 in 1,000 are promoted by chance (test/bench/canary), far below alpha.
  expect(wilson(promoted, runs).low).toBeLessThanOrEqual(0.01);
});

test("a router that draws half too many candidates is found", () => {
  const { rolledBack } = simulate({ ...effect(0.7, 0.7), share: (weight) => weight * 1.5 }, PRODUCTION, 20, 6);
  expect(rolledBack).toBe(20);
});

test("a candidate whose tools fail three times as often is stopped by the guardrail", () => {
  const { rolledBack } = simulate(
    { ...effect(0.7, 0.7), badEvent: (arm) => (arm === "candidate" ? 0.3 : 0.1) },
    { ...PRODUCTION, maxUnits: 3000 },
    20,
    7,
  );
  expect(rolledBack).toBeGreaterThanOrEqual(19);
});

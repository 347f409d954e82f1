import { describe, expect, test } from "vitest";
import { planCanary } from "../../src/promotion/canary-plan.ts";
import { PRODUCTION, QUICKSTART, simulate } from "../bench/canary/simulate.ts";

describe("the plan agrees with simulation to a quarter", () => {
  test.each([
    ["quickstart +30", QUICKSTART, 0.55, 0.3, 200],
    ["quickstart +25", QUICKSTART, 0.6, 0.25, 200],
    ["production, identical", PRODUCTION, 0.7, 0, 25],
  ])("%s", (_, parameters, stableSuccess, gain, runs) => {
    const { units } = planCanary(parameters, { stableSuccess, gain, unitsPerDay: 2000 });
    const world = { success: (arm: "stable" | "candidate") => stableSuccess + (arm === "candidate" ? gain : 0) };
    const { medianUnits } = simulate(world, parameters, runs, 1);
    expect(Math.abs((units ?? 0) / medianUnits - 1)).toBeLessThan(0.25);
  });
});

test("what cannot be shown within the cap, the deadline or the traffic is said beforehand", () => {
  const day = 86_400_000;
  const parameters = { ...PRODUCTION, dwellMs: day, deadlineMs: 7 * day };
  expect(planCanary({ ...parameters, maxUnits: 2000 }, { stableSuccess: 0.7, gain: -0.05, unitsPerDay: 2000 })).toEqual({
    units: null,
    days: null,
    advice: "live_proof_out_of_reach",
  });
  const busy = planCanary(parameters, { stableSuccess: 0.7, gain: 0.05, unitsPerDay: 100_000 });
  expect(busy).toMatchObject({ days: 1, advice: "canary" });
  expect(planCanary(parameters, { stableSuccess: 0.7, gain: 0, unitsPerDay: 150 }).advice).toBe("live_proof_out_of_reach");
});

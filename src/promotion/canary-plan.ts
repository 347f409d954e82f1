import { deltaOf, rampStep, type CanaryParameters } from "./canary.ts";
import { BET_MULTIPLES, GAMMA, logSumExp } from "./canary-statistics.ts";
import { seededRandom } from "../seeded-random.ts";

export interface CanaryPlan {
  /** Units at which a candidate of this effect is about as likely promoted as not; null where that is beyond the cap. */
  units: number | null;
  /** How long that takes at this traffic, the dwell included. */
  days: number | null;
  /** Below some 200 trajectories a day live proof is out of reach: then the gate alone, over weeks, has to carry it. */
  advice: "canary" | "live_proof_out_of_reach";
}

const MIN_UNITS_PER_DAY = 200;
const DAY_MS = 86_400_000;

const RUNS = 101;

/**
 * How long a canary will take before it is started: the median of seeded runs of its promotion process along the ramp, with the arms' true means known to the
 * bettors and outcomes that are 0 or 1.
 * @param expected true success of stable, and the candidate's gain over it
 */
export function planCanary(
  parameters: CanaryParameters,
  expected: { stableSuccess: number; gain: number; unitsPerDay: number },
): CanaryPlan {
  const units = expectedUnits(parameters, expected);
  const days = units === null ? null : Math.max(units / expected.unitsPerDay, parameters.dwellMs / DAY_MS);
  const isInTime = days !== null && days * DAY_MS <= parameters.deadlineMs;
  return { units, days, advice: isInTime && expected.unitsPerDay >= MIN_UNITS_PER_DAY ? "canary" : "live_proof_out_of_reach" };
}

function expectedUnits(parameters: CanaryParameters, expected: { stableSuccess: number; gain: number }): number | null {
  const crossings = Array.from({ length: RUNS }, (_, run) => crossing(parameters, expected, seededRandom(run + 1)));
  const median = crossings.sort((a, b) => a - b)[Math.floor(RUNS / 2)] ?? Number.POSITIVE_INFINITY;
  return Number.isFinite(median) ? median : null;
}

function crossing(parameters: CanaryParameters, expected: { stableSuccess: number; gain: number }, random: () => number): number {
  const { stableSuccess, gain } = expected;
  const rates = { stable: stableSuccess, candidate: stableSuccess + gain };
  const threshold = Math.log(1 / parameters.alpha);
  const logs = GAMMA.map((gamma) => Math.log(gamma));
  for (let unit = 1; unit <= parameters.maxUnits; unit++) {
    const p = parameters.ramp[rampStep(unit - 1, parameters.ramp)]?.weight ?? 0.5;
    const arm = random() < p ? "candidate" : "stable";
    const residual = (random() < rates[arm] ? 1 : 0) - rates[arm];
    const phi = gain + (arm === "candidate" ? residual / p : -residual / (1 - p));
    for (const [j, multiple] of BET_MULTIPLES.entries()) {
      logs[j] = (logs[j] ?? 0) + Math.log1p(Math.max(-0.9, parameters.lambda0 * multiple * 4 * p * (1 - p) * (phi + deltaOf(parameters))));
    }
    if (unit % parameters.lookEvery === 0 && logSumExp(logs) >= threshold) return unit;
  }
  return Number.POSITIVE_INFINITY;
}

import {
  isLook,
  look,
  newCanaryState,
  observe,
  rampStep,
  type CanaryDecision,
  type CanaryParameters,
} from "../../../src/promotion/canary.ts";

/** A world for the canary: what each arm's true success is when, and what goes wrong with the units. */
export interface World {
  /** True success probability of an arm for the n-th unit. */
  success: (arm: "stable" | "candidate", n: number) => number;
  /** Probability that an outcome never comes. */
  missing?: number;
  /** The router's true candidate share for an intended weight; differs only where it is broken. */
  share?: (weight: number) => number;
  /** Probability of a bad event per unit. */
  badEvent?: (arm: "stable" | "candidate") => number;
}

export interface Summary {
  runs: number;
  promoted: number;
  rolledBack: number;
  rolledBackForHarm: number;
  expired: number;
  /** Units at the decision, median over runs. */
  medianUnits: number;
}

/** Plays `runs` seeded canaries to their end. */
export function simulate(world: World, parameters: CanaryParameters, runs: number, seed: number): Summary {
  const decisions = Array.from({ length: runs }, (_, run) => playOne(world, parameters, mulberry(seed * 1_000_003 + run)));
  const count = (action: CanaryDecision["action"]) => decisions.filter((decision) => decision.action === action).length;
  const units = decisions.map((decision) => decision.numbers.units).sort((a, b) => a - b);
  return {
    runs,
    promoted: count("promote"),
    rolledBack: count("rollback"),
    rolledBackForHarm: decisions.filter((decision) => decision.reason === "harm").length,
    expired: count("expire"),
    medianUnits: units[Math.floor(runs / 2)] ?? 0,
  };
}

function playOne(world: World, parameters: CanaryParameters, random: () => number): CanaryDecision {
  let state = newCanaryState();
  for (let n = 0; ; n++) {
    const p = parameters.ramp[rampStep(state.units, parameters.ramp)]?.weight ?? 0.5;
    const arm = random() < (world.share?.(p) ?? p) ? "candidate" : "stable";
    const outcome = random() < world.success(arm, n) ? 1 : 0;
    const isMissing = random() < (world.missing ?? 0);
    const isBad = random() < (world.badEvent?.(arm) ?? 0);
    const unit = {
      key: `key-${n}`,
      arm,
      p,
      routeVersion: 1,
      assignedAtMs: n,
      endedAtMs: n,
      trajectoryId: `trajectory-${n}`,
      outcome: isMissing ? null : outcome,
      errors: { tool_failure: isBad },
    } as const;
    state = observe(state, unit, parameters);
    if (!isLook(state, parameters)) continue;
    const decision = look(state, parameters, { startedAtMs: 0, nowMs: n });
    if (decision.action !== "hold") return decision;
  }
}

/** The quickstart's parameters. */
export const QUICKSTART: CanaryParameters = {
  mode: "improve",
  delta: 0,
  alpha: 0.05,
  lambda0: 0.18,
  ramp: [{ weight: 0.1, untilUnits: 40 }, { weight: 0.5 }],
  maxUnits: 300,
  lookEvery: 5,
  dwellMs: 0,
  deadlineMs: Number.MAX_SAFE_INTEGER,
  minCandidateUnits: 0,
};

/** Production's defaults at 2,000 trajectories a day. */
export const PRODUCTION: CanaryParameters = {
  ...QUICKSTART,
  mode: "non-inferior",
  delta: 0.05,
  lambda0: 0.06,
  ramp: [{ weight: 0.05, untilUnits: 400 }, { weight: 0.2, untilUnits: 1000 }, { weight: 0.5 }],
  maxUnits: 10_000,
  lookEvery: 10,
};

/** Wilson score interval of a share, 95 %. */
export function wilson(successes: number, runs: number): { low: number; high: number } {
  const z = 1.96;
  const share = successes / runs;
  const centre = (share + (z * z) / (2 * runs)) / (1 + (z * z) / runs);
  const half = (z / (1 + (z * z) / runs)) * Math.sqrt((share * (1 - share)) / runs + (z * z) / (4 * runs * runs));
  return { low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}

export function mulberry(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

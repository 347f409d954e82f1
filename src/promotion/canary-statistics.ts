/**
 * The formulas of the canary, one small state each. All are e-processes: under their null hypothesis the expected value never exceeds 1, so crossing 1/α
 * at any look, however often one looks, has probability at most α (Ville's inequality). Everything runs in log space.
 */

export type Arm = "stable" | "candidate";

/** Weights γ and multiples of the base bet λ0: four bettors, timid to bold, mixed. */
export const GAMMA = [0.3, 0.4, 0.2, 0.1] as const;
export const BET_MULTIPLES = [0.5, 1, 2, 4] as const;
/** Share of the largest loss that one unit can cause which a bettor may stake; keeps every factor at or above 0.1. */
const MAX_STAKE = 0.9;

/** One arm's outcomes processed so far. */
interface Tally {
  units: number;
  sum: number;
}

/** A betting process: four log-wealths, and the arms' tallies from which the next unit's bet is fixed before its outcome is seen. */
export interface BetProcess {
  readonly logs: readonly number[];
  readonly stable: Tally;
  readonly candidate: Tally;
}

export const NEW_BET_PROCESS: BetProcess = { logs: [0, 0, 0, 0], stable: { units: 0, sum: 0 }, candidate: { units: 0, sum: 0 } };

export interface Bet {
  /** `promote` bets on effect > −δ, `harm` on effect < 0. */
  side: "promote" | "harm";
  delta: number;
  lambda0: number;
}

/**
 * What one unit adds to a process. `phi` is the inverse-probability-weighted, mean-adjusted effect; `variance` is v = 4p(1−p).
 *
 * A missing outcome counts against what the process wants to show: for `promote` a candidate's Y is 0 and a stable unit's residual is 0; mirrored for `harm`.
 */
export function observeBet(
  process: BetProcess,
  unit: { arm: Arm; p: number; outcome: number | null },
  bet: Bet,
): { process: BetProcess; phi: number } {
  const m1 = shrunkMean(process.candidate);
  const m0 = shrunkMean(process.stable);
  const worstArm: Arm = bet.side === "promote" ? "candidate" : "stable";
  const outcome = unit.outcome ?? (unit.arm === worstArm ? 0 : null);
  const { p } = unit;
  const gap = m1 - m0;
  const residual = outcome === null ? 0 : outcome - (unit.arm === "candidate" ? m1 : m0);
  const phi = gap + (unit.arm === "candidate" ? residual / p : -residual / (1 - p));
  // −lo and hi are both at least 1: their two branches average to 1 with weights p and 1−p. So the divisors below cannot vanish for δ ≤ ½.
  const lo = Math.min(gap - m1 / p, gap - (1 - m0) / (1 - p));
  const hi = Math.max(gap + (1 - m1) / p, gap + m0 / (1 - p));
  const v = 4 * p * (1 - p);
  const logs = process.logs.map((log, j) => {
    const wish = bet.lambda0 * (BET_MULTIPLES[j] ?? 1) * v;
    const gain =
      bet.side === "promote" ? Math.min(wish, MAX_STAKE / (-lo - bet.delta)) * (phi + bet.delta) : -Math.min(wish, MAX_STAKE / hi) * phi;
    return log + Math.log1p(gain);
  });
  const tallied = outcome === null ? process : { ...process, [unit.arm]: add(process[unit.arm], outcome) };
  return { process: { ...tallied, logs }, phi };
}

/** log K = log Σ γ_j exp(L_j). */
export function logWealth(process: BetProcess): number {
  return logSumExp(process.logs.map((log, j) => Math.log(GAMMA[j] ?? 0) + log));
}

function shrunkMean(tally: Tally): number {
  return (tally.sum + 1) / (tally.units + 2);
}

function add(tally: Tally, outcome: number): Tally {
  return { units: tally.units + 1, sum: tally.sum + outcome };
}

/** Candidate-to-stable rate ratios of a bad event that a guardrail bets on, as multiples of its tolerated ratio r0. */
const RATE_MULTIPLES = [1.25, 1.5, 2, 3, 5, 10] as const;

/** Log-likelihood ratios of one guardrail, one per alternative rate ratio. */
export type GuardrailProcess = readonly number[];
export const NEW_GUARDRAIL_PROCESS: GuardrailProcess = RATE_MULTIPLES.map(() => 0);

/** One bad event. Only its arm matters: under ratio r the next bad event is the candidate's with probability q_r = w·r/(w·r + 1 − w). */
export function observeBadEvent(process: GuardrailProcess, event: { arm: Arm; p: number }, r0: number): GuardrailProcess {
  const share = (r: number) => (event.p * r) / (event.p * r + 1 - event.p);
  const q0 = share(r0);
  return process.map((log, index) => {
    const q = share(r0 * (RATE_MULTIPLES[index] ?? 1));
    return log + (event.arm === "candidate" ? Math.log(q / q0) : Math.log((1 - q) / (1 - q0)));
  });
}

export function logGuardrail(process: GuardrailProcess): number {
  return logSumExp(process) - Math.log(process.length);
}

/** Concentration of the beta prior around the intended weight. */
const MISMATCH_CONCENTRATION = 1000;

/** Sample-ratio mismatch: counts per stage of constant weight, keyed by that weight, and the running log of the product over stages. */
export interface RatioProcess {
  readonly log: number;
  readonly stages: Readonly<Record<string, { candidate: number; total: number }>>;
}

export const NEW_RATIO_PROCESS: RatioProcess = { log: 0, stages: {} };

/**
 * E = B(cw+a, c(1−w)+t−a) / B(cw, c(1−w)) / (wᵃ(1−w)^(t−a)) per stage, as the product of its one-step predictions: before each unit the
 * beta-binomial says (cw+a)/(c+t), the router should say w.
 */
export function observeAssignment(process: RatioProcess, unit: { arm: Arm; p: number }): RatioProcess {
  const stage = process.stages[String(unit.p)] ?? { candidate: 0, total: 0 };
  const predicted = (MISMATCH_CONCENTRATION * unit.p + stage.candidate) / (MISMATCH_CONCENTRATION + stage.total);
  const isCandidate = unit.arm === "candidate";
  const step = isCandidate ? Math.log(predicted / unit.p) : Math.log((1 - predicted) / (1 - unit.p));
  const next = { candidate: stage.candidate + (isCandidate ? 1 : 0), total: stage.total + 1 };
  return { log: process.log + step, stages: { ...process.stages, [String(unit.p)]: next } };
}

/** Running sums of the display interval, with ω = 4p(1−p): Σω, Σωφ, Σω², Σω²φ, Σω²φ². */
export interface EffectSums {
  readonly w: number;
  readonly wPhi: number;
  readonly w2: number;
  readonly w2Phi: number;
  readonly w2Phi2: number;
}

export const NEW_EFFECT_SUMS: EffectSums = { w: 0, wPhi: 0, w2: 0, w2Phi: 0, w2Phi2: 0 };

export function observeEffect(sums: EffectSums, p: number, phi: number): EffectSums {
  const w = 4 * p * (1 - p);
  return {
    w: sums.w + w,
    wPhi: sums.wPhi + w * phi,
    w2: sums.w2 + w * w,
    w2Phi: sums.w2Phi + w * w * phi,
    w2Phi2: sums.w2Phi2 + w * w * phi * phi,
  };
}

/**
 * Effect (candidate − stable) with an asymptotic confidence sequence. For display only: no decision reads it. Null before the first unit.
 * @param plannedVariance V*: Σω²·Var(φ) at the planned number of units, where the interval is tightest.
 */
export function effectInterval(
  sums: EffectSums,
  alpha: number,
  plannedVariance: number,
): { mean: number; low: number; high: number } | null {
  if (sums.w === 0) return null;
  const mean = sums.wPhi / sums.w;
  const variance = Math.max(0, sums.w2Phi2 - 2 * mean * sums.w2Phi + mean * mean * sums.w2);
  const eta = plannedVariance / 6.6;
  const total = variance + eta;
  const half = Math.sqrt(2 * total * Math.log1p(Math.sqrt(total / eta) / (2 * alpha))) / sums.w;
  return { mean, low: mean - half, high: mean + half };
}

export function logSumExp(values: readonly number[]): number {
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
}

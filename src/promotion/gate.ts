import { seededRandom } from "../seeded-random.ts";
import { klFigures, klProblem, type KlCaps, type KlFigures, type KlSums } from "./gate-kl.ts";

/** The offline gate's statistics: pure. The rollouts and the pair judge are someone else's; this decides what their counts prove. */

const BETS = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8] as const;
/** A judge that lets the first slot win outside this range, or contradicts itself in the other order more often than that, measures its own habits. */
const FIRST_SLOT_RANGE = [0.4, 0.6] as const;
const MAX_DISAGREEMENT = 0.3;

/** One played pair: one scenario, one seed. */
export interface GatePair {
  scenarioId: string;
  /** Scenarios of one cluster are one unit; a scenario without a cluster stands for itself. */
  cluster: string;
  seed: number;
  candidateMasked: boolean;
  stableMasked: boolean;
  /** Null where there was nothing to compare (a member masked) or the judge gave no result. */
  result: { x: 0 | 0.5 | 1; firstSlotWins: 0 | 1 | 2; ordersAgree: boolean } | null;
  /** The candidate's rollout, scored by all policies; null where none would. Missing where nobody asked. */
  kl?: KlSums | null;
}

export interface GateParameters {
  mode: "improve" | "non-inferior";
  alpha: number;
  /** δ of the non-inferiority test, in win rate: m = ½ − δ/2. */
  margin: number;
  maxMaskedShare: number;
  /** Fewer units than this are `insufficient` whatever they say; the secondary suites need 150. */
  minUnits?: number;
  /** Both arms wrote into one world that nothing set back: the one that came second met what the first had done, whichever is better. */
  isWorldShared?: boolean;
  /** How far the candidate may have moved on its own samples. Unset: nobody asks. */
  maxKl?: KlCaps;
}

export type GateReason =
  | "proven"
  | "harm"
  | "not_proven"
  | "shared_world"
  | "too_few_units"
  | "masked_share"
  | "unjudged_share"
  | "judge_position_bias"
  | "judge_disagreement"
  | "kl_to_stable"
  | "kl_to_base"
  | "kl_unmeasured";

export interface GateDecision {
  decision: "pass" | "refuse" | "insufficient";
  reason: GateReason;
  /** Largest K⁺ along the fixed order (Ville allows the largest), the harm process's likewise, and what either must reach. */
  kPromote: number;
  kHarm: number;
  threshold: number;
  units: number;
  pairs: number;
  wins: number;
  losses: number;
  ties: number;
  meanX: number | null;
  maskedShare: number;
  unjudgedShare: number;
  firstSlotShare: number | null;
  disagreementShare: number | null;
  /** Units that the planner thinks would still be needed at the observed mean; null when the mean does not point upwards. */
  unitsNeeded: number | null;
  /** Missing in decisions from before it was measured. */
  kl?: KlFigures;
}

/** Σ over λ of Π(1 + λ(X−m)/max(m, 1−m)) / 6, the largest value along the given order. */
export function gateWealth(xs: readonly number[], m: number): number {
  const logs = BETS.map(() => 0);
  let best = 1;
  for (const x of xs) {
    for (const [j, bet] of BETS.entries()) logs[j] = (logs[j] ?? 0) + Math.log1p((bet * (x - m)) / Math.max(m, 1 - m));
    best = Math.max(best, logs.reduce((sum, log) => sum + Math.exp(log), 0) / BETS.length);
  }
  return best;
}

/**
 * Decides one suite. Pairs are reduced to one X per cluster and tested in the order in which clusters first appear, which the caller fixed by seed before the
 * first pair was played.
 */
export function decideGate(pairs: readonly GatePair[], parameters: GateParameters): GateDecision {
  const m = parameters.mode === "improve" ? 0.5 : 0.5 - parameters.margin / 2;
  const units = unitsOf(pairs, m);
  const judge = judgeHabits(pairs);
  const base = {
    kPromote: gateWealth(
      units.map((unit) => unit.promote),
      m,
    ),
    // The mirrored process against H0 E[X] ≥ ½.
    kHarm: gateWealth(
      units.map((unit) => 1 - unit.harm),
      0.5,
    ),
    threshold: 1 / parameters.alpha,
    units: units.length,
    ...countsOf(pairs),
    ...judge,
    kl: klFigures(pairs),
  };
  const conclude = (decision: GateDecision["decision"], reason: GateReason): GateDecision => ({
    decision,
    reason,
    ...base,
    unitsNeeded: decision === "pass" ? 0 : stillNeeded(base, m, parameters.alpha),
  });
  if (parameters.isWorldShared === true) return conclude("insufficient", "shared_world");
  if (base.maskedShare > parameters.maxMaskedShare) return conclude("insufficient", "masked_share");
  if (base.unjudgedShare > parameters.maxMaskedShare) return conclude("insufficient", "unjudged_share");
  if (judge.firstSlotShare !== null && (judge.firstSlotShare < FIRST_SLOT_RANGE[0] || judge.firstSlotShare > FIRST_SLOT_RANGE[1])) {
    return conclude("insufficient", "judge_position_bias");
  }
  if ((judge.disagreementShare ?? 0) > MAX_DISAGREEMENT) return conclude("insufficient", "judge_disagreement");
  if (base.kHarm >= base.threshold) return conclude("refuse", "harm");
  const moved =
    parameters.maxKl === undefined || pairs.length === 0 ? null : klProblem(base.kl, parameters.maxKl, parameters.maxMaskedShare);
  if (moved !== null) return conclude(moved === "kl_unmeasured" ? "insufficient" : "refuse", moved);
  if (units.length < (parameters.minUnits ?? 1)) return conclude("insufficient", "too_few_units");
  return base.kPromote >= base.threshold ? conclude("pass", "proven") : conclude("insufficient", "not_proven");
}

/**
 * Units that a test needs, as the median of seeded simulations at a true mean and share of ties. Infinity when it needs more than `cap`.
 * @param truth `ties` is the share of X = ½; 1 means identical outputs.
 */
export function unitsNeeded(truth: { meanX: number; ties: number }, m: number, alpha: number, cap = 20_000): number {
  const runs = truth.ties >= 1 ? 1 : 101;
  const lengths = Array.from({ length: runs }, (_, run) => crossing(truth, m, alpha, cap, seededRandom(run + 1)));
  return lengths.sort((a, b) => a - b)[Math.floor(runs / 2)] ?? Number.POSITIVE_INFINITY;
}

function crossing(truth: { meanX: number; ties: number }, m: number, alpha: number, cap: number, random: () => number): number {
  const wins = truth.meanX - truth.ties / 2;
  const wealths = BETS.map(() => 1);
  const scale = Math.max(m, 1 - m);
  for (let n = 1; n <= cap; n++) {
    const u = random();
    const x = u < truth.ties ? 0.5 : u < truth.ties + wins ? 1 : 0;
    let sum = 0;
    for (const [j, bet] of BETS.entries()) {
      wealths[j] = (wealths[j] ?? 1) * (1 + (bet * (x - m)) / scale);
      sum += wealths[j] ?? 0;
    }
    if (sum / BETS.length >= 1 / alpha) return n;
  }
  return Number.POSITIVE_INFINITY;
}

/**
 * X of a pair for both processes. A candidate cannot escape by leaving the tape: masked where stable was not, it lost. What the judge did not say is no evidence:
 * X = m leaves the promotion process where it was, ½ the harm process.
 */
function countOf(pair: GatePair, m: number): { promote: number; harm: number } {
  if (pair.candidateMasked && !pair.stableMasked) return { promote: 0, harm: 0.5 };
  if (pair.stableMasked) return { promote: 0.5, harm: 0.5 };
  if (pair.result === null) return { promote: m, harm: 0.5 };
  const x = pair.result.ordersAgree ? pair.result.x : 0.5;
  return { promote: x, harm: x };
}

function unitsOf(pairs: readonly GatePair[], m: number): { promote: number; harm: number }[] {
  // Seeds first, then scenarios: a scenario with more seeds must not weigh more in its cluster.
  const clusters = Map.groupBy(pairs, (pair) => pair.cluster);
  return [...clusters.values()].map((members) => {
    const scenarios = [...Map.groupBy(members, (pair) => pair.scenarioId).values()].map((seeds) => seeds.map((pair) => countOf(pair, m)));
    const average = (side: "promote" | "harm") => mean(scenarios.map((counts) => mean(counts.map((count) => count[side]))));
    return { promote: average("promote"), harm: average("harm") };
  });
}

function judgeHabits(pairs: readonly GatePair[]): { firstSlotShare: number | null; disagreementShare: number | null } {
  const results = pairs.flatMap((pair) => (pair.result === null ? [] : [pair.result]));
  // A pair that tied in both orders has no winner in any slot.
  const decided = results.filter((result) => !(result.ordersAgree && result.x === 0.5));
  const firstSlotWins = decided.reduce((sum, result) => sum + result.firstSlotWins, 0);
  return {
    firstSlotShare: decided.length === 0 ? null : firstSlotWins / (2 * decided.length),
    disagreementShare: results.length === 0 ? null : results.filter((result) => !result.ordersAgree).length / results.length,
  };
}

function countsOf(
  pairs: readonly GatePair[],
): Pick<GateDecision, "pairs" | "wins" | "losses" | "ties" | "meanX" | "maskedShare" | "unjudgedShare"> {
  const masked = pairs.filter((pair) => pair.candidateMasked || pair.stableMasked).length;
  const judged = pairs.flatMap((pair) => (pair.result === null ? [] : [pair.result.ordersAgree ? pair.result.x : 0.5]));
  const share = (count: number) => (pairs.length === 0 ? 0 : count / pairs.length);
  return {
    pairs: pairs.length,
    wins: judged.filter((x) => x === 1).length,
    losses: judged.filter((x) => x === 0).length,
    ties: judged.filter((x) => x === 0.5).length,
    meanX: judged.length === 0 ? null : mean(judged),
    maskedShare: share(masked),
    unjudgedShare: share(pairs.length - masked - judged.length),
  };
}

function stillNeeded(
  seen: { units: number; wins: number; losses: number; ties: number; meanX: number | null },
  m: number,
  alpha: number,
): number | null {
  const judged = seen.wins + seen.losses + seen.ties;
  if (seen.meanX === null || seen.meanX <= m || judged === 0) return null;
  const needed = unitsNeeded({ meanX: seen.meanX, ties: seen.ties / judged }, m, alpha);
  return Number.isFinite(needed) ? Math.max(1, needed - seen.units) : null;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

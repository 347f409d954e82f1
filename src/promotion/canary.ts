import {
  effectInterval,
  logGuardrail,
  logWealth,
  NEW_BET_PROCESS,
  NEW_EFFECT_SUMS,
  NEW_GUARDRAIL_PROCESS,
  NEW_RATIO_PROCESS,
  observeAssignment,
  observeBadEvent,
  observeBet,
  observeEffect,
  type Arm,
  type BetProcess,
  type EffectSums,
  type GuardrailProcess,
  type RatioProcess,
} from "./canary-statistics.ts";

/** One assignment key, once: the first trajectory that it started. */
export interface CanaryUnit {
  key: string;
  arm: Arm;
  /** Candidate weight in force when the gateway pinned the key. */
  p: number;
  routeVersion: number;
  assignedAtMs: number;
  endedAtMs: number;
  trajectoryId: string;
  /** Y in [0, 1]; null when it is missing. */
  outcome: number | null;
  /** Bad events of this unit: at most one per guardrail. */
  errors: Readonly<Partial<Record<GuardrailName, boolean>>>;
}

/**
 * What must not get worse. `r0` is the candidate-to-stable ratio that is tolerated. A small arm is colder (the prefix cache is per adapter name), so latency
 * tolerates 2 and is read only from `minWeight` up.
 */
export const GUARDRAILS = [
  { name: "server_error", r0: 1, minWeight: 0 },
  { name: "tool_failure", r0: 1, minWeight: 0 },
  { name: "refusal", r0: 1, minWeight: 0 },
  { name: "timeout", r0: 1, minWeight: 0 },
  { name: "fallback", r0: 1, minWeight: 0 },
  { name: "cost", r0: 1, minWeight: 0 },
  { name: "slow_first_token", r0: 2, minWeight: 0.25 },
] as const;
export type GuardrailName = (typeof GUARDRAILS)[number]["name"];

/** Sample-ratio mismatch alarms here, far above 1/α: it looks for bugs, and it looks at every experiment. */
const MISMATCH_ALARM = 1e4;
/** Below and above, one unit would weigh more than a hundred others. */
export const MIN_WEIGHT = 0.01;
export const MAX_WEIGHT = 0.99;

export interface CanaryParameters {
  mode: "improve" | "non-inferior";
  delta: number;
  alpha: number;
  lambda0: number;
  ramp: readonly { weight: number; untilUnits?: number | undefined }[];
  maxUnits: number;
  lookEvery: number;
  dwellMs: number;
  deadlineMs: number;
  minCandidateUnits: number;
}

/** All that the statistics know: plain JSON, the fold of the units in assignment order. */
export interface CanaryState {
  /** Units in the analysis. */
  readonly units: number;
  readonly candidateUnits: number;
  readonly missingOutcomes: number;
  readonly promote: BetProcess;
  readonly harm: BetProcess;
  readonly guardrails: Readonly<Record<GuardrailName, GuardrailProcess>>;
  readonly badEvents: Readonly<Record<GuardrailName, { stable: number; candidate: number }>>;
  readonly assigned: RatioProcess;
  readonly scored: RatioProcess;
  readonly effect: EffectSums;
}

export interface CanaryNumbers {
  units: number;
  candidateUnits: number;
  missingOutcomes: number;
  successStable: number | null;
  successCandidate: number | null;
  /** K⁺ and K⁻: evidence for promotion and for harm; `threshold` is what either must reach. */
  kPromote: number;
  kHarm: number;
  threshold: number;
  guardrails: Record<GuardrailName, number>;
  guardrailThreshold: number;
  mismatchAssigned: number;
  mismatchScored: number;
  /** Display only. */
  effect: { mean: number; low: number; high: number } | null;
}

export type CanaryReason =
  | "quality_proven"
  | "harm"
  | "guardrail"
  | "sample_ratio_mismatch"
  | "cap_reached"
  | "deadline_reached"
  | "collecting"
  | "exposure_floor"
  | "dwell";

export interface CanaryDecision {
  action: "promote" | "rollback" | "hold" | "expire";
  reason: CanaryReason;
  /** The guardrail that alarmed, or what is awaited. */
  detail: string;
  numbers: CanaryNumbers;
}

export function newCanaryState(): CanaryState {
  return {
    units: 0,
    candidateUnits: 0,
    missingOutcomes: 0,
    promote: NEW_BET_PROCESS,
    harm: NEW_BET_PROCESS,
    guardrails: perGuardrail(() => NEW_GUARDRAIL_PROCESS),
    badEvents: perGuardrail(() => ({ stable: 0, candidate: 0 })),
    assigned: NEW_RATIO_PROCESS,
    scored: NEW_RATIO_PROCESS,
    effect: NEW_EFFECT_SUMS,
  };
}

/** A unit that was assigned but is left out by the time rule: it still says whether the router splits as it should. */
export function observeExcluded(state: CanaryState, unit: Pick<CanaryUnit, "arm" | "p">): CanaryState {
  return { ...state, assigned: observeAssignment(state.assigned, unit) };
}

/** Takes the next unit in assignment order, its outcome final (null: its horizon has ended without one). Pure. */
export function observe(state: CanaryState, unit: CanaryUnit, parameters: CanaryParameters): CanaryState {
  const { lambda0 } = parameters;
  const promote = observeBet(state.promote, unit, { side: "promote", delta: deltaOf(parameters), lambda0 });
  const harm = observeBet(state.harm, unit, { side: "harm", delta: 0, lambda0 });
  const bad = GUARDRAILS.filter(({ name, minWeight }) => unit.errors[name] === true && unit.p >= minWeight);
  const guardrails = { ...state.guardrails };
  const badEvents = { ...state.badEvents };
  for (const { name, r0 } of bad) {
    guardrails[name] = observeBadEvent(guardrails[name], unit, r0);
    badEvents[name] = { ...badEvents[name], [unit.arm]: badEvents[name][unit.arm] + 1 };
  }
  return {
    units: state.units + 1,
    candidateUnits: state.candidateUnits + (unit.arm === "candidate" ? 1 : 0),
    missingOutcomes: state.missingOutcomes + (unit.outcome === null ? 1 : 0),
    promote: promote.process,
    harm: harm.process,
    guardrails,
    badEvents,
    assigned: observeAssignment(state.assigned, unit),
    scored: unit.outcome === null ? state.scored : observeAssignment(state.scored, unit),
    effect: observeEffect(state.effect, unit.p, promote.phi),
  };
}

/** Whether the statistics may be read at this point; looks are every `lookEvery` units and at the cap. */
export function isLook(state: CanaryState, parameters: CanaryParameters): boolean {
  return state.units > 0 && (state.units % parameters.lookEvery === 0 || state.units >= parameters.maxUnits);
}

/**
 * What the evidence says now. Harm comes before promotion, promotion before the cap: a candidate that is both proven and out of time is promoted.
 * A guardrail without an alarm is no proof of anything: promotion also needs its exposure floor.
 */
export function look(state: CanaryState, parameters: CanaryParameters, clock: { startedAtMs: number; nowMs: number }): CanaryDecision {
  const numbers = numbersOf(state, parameters);
  const decide = (action: CanaryDecision["action"], reason: CanaryReason, detail = ""): CanaryDecision => ({
    action,
    reason,
    detail,
    numbers,
  });
  if (numbers.kHarm >= numbers.threshold) return decide("rollback", "harm");
  const alarmed = GUARDRAILS.find(({ name }) => numbers.guardrails[name] >= numbers.guardrailThreshold);
  if (alarmed !== undefined) return decide("rollback", "guardrail", alarmed.name);
  if (Math.max(numbers.mismatchAssigned, numbers.mismatchScored) >= MISMATCH_ALARM) return decide("rollback", "sample_ratio_mismatch");
  const elapsedMs = clock.nowMs - clock.startedAtMs;
  const proven = numbers.kPromote >= numbers.threshold;
  const exposed = state.candidateUnits >= parameters.minCandidateUnits;
  const dwelt = elapsedMs >= parameters.dwellMs;
  if (proven && exposed && dwelt) return decide("promote", "quality_proven");
  if (state.units >= parameters.maxUnits) return decide("expire", "cap_reached");
  if (elapsedMs >= parameters.deadlineMs) return decide("expire", "deadline_reached");
  if (!proven) return decide("hold", "collecting");
  return exposed
    ? decide("hold", "dwell", `${parameters.dwellMs - elapsedMs} ms left`)
    : decide("hold", "exposure_floor", `${parameters.minCandidateUnits} candidate units needed`);
}

/** The stage of the ramp that this many analysed units have earned. */
export function rampStep(units: number, ramp: CanaryParameters["ramp"]): number {
  const step = ramp.findIndex(({ untilUnits }) => untilUnits === undefined || units < untilUnits);
  return step === -1 ? ramp.length - 1 : step;
}

function numbersOf(state: CanaryState, parameters: CanaryParameters): CanaryNumbers {
  const { alpha } = parameters;
  const success = (process: BetProcess, arm: Arm) => (process[arm].units === 0 ? null : process[arm].sum / process[arm].units);
  return {
    units: state.units,
    candidateUnits: state.candidateUnits,
    missingOutcomes: state.missingOutcomes,
    // Each arm from the process in which its missing outcomes are left out, so that the shown rates are rates of known outcomes.
    successStable: success(state.promote, "stable"),
    successCandidate: success(state.harm, "candidate"),
    kPromote: Math.exp(logWealth(state.promote)),
    kHarm: Math.exp(logWealth(state.harm)),
    threshold: 1 / alpha,
    guardrails: perGuardrail((name) => Math.exp(logGuardrail(state.guardrails[name]))),
    guardrailThreshold: GUARDRAILS.length / alpha,
    mismatchAssigned: Math.exp(state.assigned.log),
    mismatchScored: Math.exp(state.scored.log),
    effect: effectInterval(state.effect, alpha, plannedVariance(parameters)),
  };
}

/** One e-value of a canary and what it must reach, both as natural logarithms: an e-value may be larger than any double. */
export interface LogEvidence {
  name: "promote" | "harm" | GuardrailName | "sample_ratio";
  log: number;
  threshold: number;
}

/** Everything that `look` decides by, in one order. */
export function logEvidence(state: CanaryState, { alpha }: Pick<CanaryParameters, "alpha">): LogEvidence[] {
  const threshold = -Math.log(alpha);
  return [
    { name: "promote", log: logWealth(state.promote), threshold },
    { name: "harm", log: logWealth(state.harm), threshold },
    ...GUARDRAILS.map(({ name }) => ({
      name,
      log: logGuardrail(state.guardrails[name]),
      threshold: threshold + Math.log(GUARDRAILS.length),
    })),
    { name: "sample_ratio", log: Math.max(state.assigned.log, state.scored.log), threshold: Math.log(MISMATCH_ALARM) },
  ];
}

/** V* for outcomes of variance ¼ (the worst) at half weight over half the cap: only the width of a displayed interval hangs on it. */
function plannedVariance(parameters: CanaryParameters): number {
  return parameters.maxUnits / 2;
}

export function deltaOf(parameters: Pick<CanaryParameters, "mode" | "delta">): number {
  return parameters.mode === "improve" ? 0 : parameters.delta;
}

function perGuardrail<T>(make: (name: GuardrailName) => T): Record<GuardrailName, T> {
  return Object.fromEntries(GUARDRAILS.map(({ name }) => [name, make(name)])) as Record<GuardrailName, T>;
}

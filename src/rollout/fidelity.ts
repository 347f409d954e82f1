import type { FidelityReason, FidelityReport, JournalEntry, Rollout, Rung } from "./group.ts";

/** A group needs this many unmasked members, and at least half of its own. */
const MIN_UNMASKED = 3;
/** Below this weight a group still trains, with its weight. */
const FULL_WEIGHT = 0.9;

const recordedRungs: readonly Rung[] = ["R0", "R1", "R2", "R3"];
const coveringRungs: readonly Rung[] = [...recordedRungs, "R4", "agent_error"];

/** What a finished group says about its own faithfulness. Pure. `recordedAtMs` is the scenario's. */
export function fidelityOf(members: readonly Rollout[], recordedAtMs: number): FidelityReport {
  const calls = members.flatMap((member) => member.journal);
  const unmasked = members.filter((member) => member.end.status !== "masked");
  const weight = mean(unmasked.map((member) => geometricMean(member.journal.filter(isServed).map((call) => call.confidence))));
  const decision = decisionOf(members, weight);
  return {
    callsByRung: countByRung(calls),
    coverage: shareOf(calls, coveringRungs),
    realShare: shareOf(calls, recordedRungs),
    simulatedShare: calls.length === 0 ? 0 : shareOf(calls, ["R5"]),
    divergenceStep: divergenceOf(members),
    divergenceDepth: mean(members.map(depthOf).filter((depth) => depth > 0)),
    stalenessMs: Math.max(0, ...calls.map((call) => (call.recordedAtMs === undefined ? 0 : Math.abs(call.recordedAtMs - recordedAtMs)))),
    weight,
    unmasked: unmasked.length,
    decision,
    reasons: reasonsOf(members, decision),
  };
}

/** Rungs at which nothing recorded answered: the rollout was off its tapes. */
export const OFF_TAPE: readonly Rung[] = ["R4", "R5", "R6", "R7"];

/** Share of a rollout's answered calls that were simulated (R5); 0 without calls. */
export function simulatedShareOf(journal: readonly JournalEntry[]): number {
  const answered = journal.filter(isServed);
  return answered.length === 0 ? 0 : shareOf(answered, ["R5"]);
}

function decisionOf(members: readonly Rollout[], weight: number): FidelityReport["decision"] {
  const enough = (some: readonly Rollout[]): boolean => some.length >= MIN_UNMASKED && some.length * 2 >= members.length;
  if (enough(members.filter(({ end }) => end.status !== "masked"))) return weight < FULL_WEIGHT ? "downweight" : "train";
  return enough(members.filter(hasHonestBeginning)) ? "step-only" : "drop";
}

/** What an answered call led to may serve as a step, whatever replay could not answer later. */
function hasHonestBeginning({ end, journal }: Rollout): boolean {
  return end.status !== "masked" || (end.cause !== "infrastructure" && journal.some(isServed));
}

function reasonsOf(members: readonly Rollout[], decision: FidelityReport["decision"]): FidelityReason[] {
  if (decision === "train") return [];
  if (decision === "downweight") return ["low_weight"];
  const causes = new Set(members.flatMap(({ end }) => (end.status === "masked" ? [end.cause] : [])));
  const byInfrastructure = causes.delete("infrastructure");
  return [
    "few_unmasked",
    ...(causes.size > 0 ? (["masked_by_replay"] as const) : []),
    ...(byInfrastructure ? (["masked_by_infrastructure"] as const) : []),
  ];
}

function isServed(call: JournalEntry): boolean {
  return call.rung !== "R7";
}

/** Of nothing: 1, nothing was unfaithful. */
function shareOf(calls: readonly JournalEntry[], rungs: readonly Rung[]): number {
  return calls.length === 0 ? 1 : calls.filter((call) => rungs.includes(call.rung)).length / calls.length;
}

function countByRung(calls: readonly JournalEntry[]): FidelityReport["callsByRung"] {
  const counts: Partial<Record<Rung, number>> = {};
  for (const { rung } of calls) counts[rung] = (counts[rung] ?? 0) + 1;
  return counts;
}

function divergenceOf(members: readonly Rollout[]): number | null {
  const steps = members.flatMap(({ journal }) => journal.filter(hasLeft).map((call) => call.step));
  return steps.length === 0 ? null : Math.min(...steps);
}

function depthOf({ journal }: Rollout): number {
  const first = journal.findIndex(hasLeft);
  return first < 0 ? 0 : journal.length - first;
}

/** The scenario's own tape did not answer in its own state. */
function hasLeft({ rung }: JournalEntry): boolean {
  return rung !== "R0" && rung !== "R1";
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function geometricMean(values: readonly number[]): number {
  if (values.length === 0) return 1;
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

import type { FidelityReport, JournalEntry, Rollout, Rung } from "./group.ts";

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
  const enough = unmasked.length >= MIN_UNMASKED && unmasked.length * 2 >= members.length;
  return {
    callsByRung: countByRung(calls),
    coverage: shareOf(calls, coveringRungs),
    realShare: shareOf(calls, recordedRungs),
    simulatedShare: calls.length === 0 ? 0 : shareOf(calls, ["R5"]),
    divergenceStep: divergenceOf(members),
    stalenessMs: Math.max(0, ...calls.map((call) => (call.recordedAtMs === undefined ? 0 : Math.abs(call.recordedAtMs - recordedAtMs)))),
    weight,
    unmasked: unmasked.length,
    decision: enough ? (weight < FULL_WEIGHT ? "downweight" : "train") : "drop",
  };
}

/** Share of a rollout's answered calls that were simulated (R5); 0 without calls. */
export function simulatedShareOf(journal: readonly JournalEntry[]): number {
  const answered = journal.filter(isServed);
  return answered.length === 0 ? 0 : shareOf(answered, ["R5"]);
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
  const steps = members.flatMap((member) =>
    member.journal.filter((call) => call.rung !== "R0" && call.rung !== "R1").map((call) => call.step),
  );
  return steps.length === 0 ? null : Math.min(...steps);
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function geometricMean(values: readonly number[]): number {
  if (values.length === 0) return 1;
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

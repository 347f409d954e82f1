import type { Rung } from "../../src/rollout/group.ts";
import { upperBound } from "../../src/rollout/measure/binomial.ts";
import type { WorldCall } from "./world.ts";

export interface RungCount {
  served: number;
  wrong: number;
  /** Of `wrong`: the first of their attempt, so that no earlier wrong answer can be the reason. */
  first: number;
  /** How many of them would be wrong by their own confidence: the sum of what each is short of 1. */
  doubted: number;
}

/** What made-up writes (R4, R5) said of outcomes that the world decided. */
export interface WriteCount {
  realErrors: number;
  falseSuccesses: number;
  realSuccesses: number;
  falseErrors: number;
}

export interface Wrong {
  conversation: string;
  seed: number;
  rung: Rung;
  confidence: number;
  call: WorldCall;
  served: string | null;
  truth: string;
  isFirst: boolean;
}

export interface Tally {
  attempts: number;
  calls: number;
  byRung: Partial<Record<Rung, RungCount>>;
  /** R3 and R4 by tool, under names such as `R3 lookup_order`: no bar can promise what somebody else's tools will show. */
  byTool: Record<string, RungCount>;
  writes: Record<string, WriteCount>;
  wrong: Wrong[];
  /** Attempts that a miss ended. */
  ended: number;
  /** Calls to which some tape that may answer holds the world's very answer, in whatever state, or that were covered anyway. */
  held: number;
  /** These, and every write of a tool of which a tape holds any answer: more than that no replay without invention can cover. */
  renderable: number;
}

export function emptyTally(): Tally {
  return { attempts: 0, calls: 0, byRung: {}, byTool: {}, writes: {}, wrong: [], ended: 0, held: 0, renderable: 0 };
}

export function countAnswer(
  tally: Tally,
  { rung, tool, confidence }: { rung: Rung; tool: string; confidence: number },
  wrong: Wrong | null,
): void {
  tally.calls += 1;
  addTo((tally.byRung[rung] ??= noneServed()), confidence, wrong);
  if (rung === "R3" || rung === "R4") addTo((tally.byTool[`${rung} ${tool}`] ??= noneServed()), confidence, wrong);
  if (wrong !== null) tally.wrong.push(wrong);
}

function noneServed(): RungCount {
  return { served: 0, wrong: 0, first: 0, doubted: 0 };
}

function addTo(counts: RungCount, confidence: number, wrong: Wrong | null): void {
  counts.served += 1;
  counts.wrong += wrong === null ? 0 : 1;
  counts.first += wrong?.isFirst === true ? 1 : 0;
  counts.doubted += 1 - confidence;
}

export function countWrite(tally: Tally, tool: string, failed: { world: boolean; served: boolean }): void {
  const counts = (tally.writes[tool] ??= { realErrors: 0, falseSuccesses: 0, realSuccesses: 0, falseErrors: 0 });
  if (failed.world) counts.realErrors += 1;
  else counts.realSuccesses += 1;
  if (failed.world && !failed.served) counts.falseSuccesses += 1;
  if (!failed.world && failed.served) counts.falseErrors += 1;
}

/** Wrong answers among R0–R2, where none is allowed. */
export function wrongRecorded(tally: Tally): readonly Wrong[] {
  return tally.wrong.filter(({ rung }) => rung === "R0" || rung === "R1" || rung === "R2");
}

const COVERED: readonly Rung[] = ["R0", "R1", "R2", "R3", "R4", "agent_error"];

/** Share of calls answered at R0–R4 or as the agent's own mistake. */
export function coverageOf(tally: Tally): number {
  return COVERED.reduce((sum, rung) => sum + (tally.byRung[rung]?.served ?? 0), 0) / tally.calls;
}

/** Counts what somebody who knew the world could have answered from the same tapes: `isHeld`: with a recorded answer; `isRenderable`: with one made like it. */
export function countBound(tally: Tally, rung: Rung, { isHeld, isRenderable }: { isHeld: boolean; isRenderable: boolean }): void {
  const isCovered = COVERED.includes(rung);
  if (isCovered || isHeld) tally.held += 1;
  if (isCovered || isHeld || isRenderable) tally.renderable += 1;
}

/** A made-up write's false successes are a tool's only where it was seen to fail so often. */
const MIN_REAL_ERRORS = 10;

/** Tools of whose real errors more than this share was answered with a success. */
export function falseSuccesses({ writes }: Tally, share: number): readonly string[] {
  return Object.entries(writes)
    .filter(([, { realErrors, falseSuccesses }]) => realErrors >= MIN_REAL_ERRORS && falseSuccesses > share * realErrors)
    .map(([tool, { realErrors, falseSuccesses }]) => `${tool}: ${falseSuccesses} of ${realErrors}`);
}

/** Printed with every run: the figures that no bar can promise for somebody else's tools. */
export function report(name: string, tally: Tally): void {
  const rungs = Object.entries(tally.byRung).sort(([a], [b]) => (a < b ? -1 : 1));
  const shown = rungs.map(([rung, { served, wrong, first, doubted }]) =>
    rung === "R7"
      ? `R7 ${served}`
      : `${rung} ${served} (wrong ${wrong}, first ${first}, ≤ ${percent(upperBound(wrong, served))}, by their own word ${doubted.toFixed(1)})`,
  );
  process.stdout.write(
    `${name}: ${tally.attempts} attempts, ${tally.calls} calls, coverage ${percent(coverageOf(tally))} (held by tapes ${percent(tally.held / tally.calls)}, with every write ${percent(tally.renderable / tally.calls)}), ended by a miss ${tally.ended}; ${shown.join(", ")}\n`,
  );
  const tools = Object.entries(tally.byTool).map(
    ([tool, { served, wrong }]) => `${tool} ${wrong}/${served} ≤ ${percent(upperBound(wrong, served))}`,
  );
  if (tools.length > 0) process.stdout.write(`  wrong by tool: ${tools.sort().join("; ")}\n`);
  const writes = Object.entries(tally.writes).map(
    ([tool, { realErrors, falseSuccesses, realSuccesses, falseErrors }]) =>
      `${tool} false success ${falseSuccesses}/${realErrors}, false error ${falseErrors}/${realSuccesses}`,
  );
  if (writes.length > 0) process.stdout.write(`  made-up writes: ${writes.join("; ")}\n`);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

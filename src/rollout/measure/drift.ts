import { hash } from "node:crypto";
import { PSEUDONYM } from "../../trace/pseudonym.ts";
import { withoutPaths } from "../../trajectory/canonical-arguments.ts";
import { parseResult } from "../../trajectory/record-tape.ts";
import { UNKNOWN_ERA } from "../../trajectory/era.ts";
import type { Tape, TapeEntry } from "../../trajectory/tape.ts";
import { profileOf, type ToolProfile } from "../../trajectory/tool-profile.ts";
import type { TapePool } from "../cascade/tape-pool.ts";
import { lowerBound, upperBound } from "./binomial.ts";

/** A recorded answer that is to be asked for again. */
export interface Drifting {
  tape: Tape;
  entry: TapeEntry;
  ageMs: number;
}

/** What the live world said to one of them. */
export interface Reread {
  ageMs: number;
  isChanged: boolean;
}

/** How far the world has moved on from one tool's recordings. */
export interface ToolDrift extends DriftShare {
  tool: string;
  /** Of `asked`, by the age of the recording, youngest first; ages at which none was asked are left out. */
  byAge: (DriftShare & { fromMs: number; toMs: number | null })[];
  /** Asked, and the endpoint gave no usable answer, or an error of a tool that no recording shows to fail. In no share. */
  failed: number;
  /** What the configuration says now; null: recordings of any age are served. */
  freshnessMs: number | null;
  /** Of `asked`, those whose age the configuration still serves: the verdict is of these. */
  served: number;
  /** `drifts`: what is served now is surely wrong too often from an age on. `unknown`: too few answers to say. */
  verdict: "holds" | "drifts" | "unknown";
  /** Where it drifts: the freshness under which it would not be. 1: from no other conversation's tape at all. */
  advisedFreshnessMs: number | null;
}

/** Recordings that were asked for again and whose answer differs now, with one-sided 95 % Clopper–Pearson bounds on the share. */
export interface DriftShare {
  asked: number;
  changed: number;
  lowerBound: number;
  upperBound: number;
}

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** Upper ends of the ages that are told apart. */
const AGES: readonly number[] = [HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 30 * DAY, Number.POSITIVE_INFINITY];
/** Fewer answers than this say nothing of a tool. */
const MIN_ASKED = 20;

/**
 * Recordings of one tool to ask for again: whole, about nothing that a recorded call has written since (replay knows of those), and with arguments that name
 * nobody by a pseudonym. One per call and age, at most `count`, of each age as many as there are; drawn by `seed`. Pure.
 */
export function driftSample(
  tool: string,
  { tapes, pool }: { tapes: readonly Tape[]; pool: Pick<TapePool, "eras"> },
  { nowMs, count, seed }: { nowMs: number; count: number; seed: number },
): Drifting[] {
  const isUntouched = ({ entityEra }: TapeEntry): boolean =>
    Object.entries(entityEra).every(
      ([entity, era]) => era !== UNKNOWN_ERA && pool.eras.before(entity, { fromMs: nowMs, toMs: nowMs }, "") === era,
    );
  const place = ({ tape, entry }: Drifting): string => hash("sha256", `drift|${seed}|${tape.id}|${entry.turn}|${entry.parallelIndex}`);
  const candidates = tapes
    .flatMap((tape) => tape.entries.map((entry): Drifting => ({ tape, entry, ageMs: nowMs - entry.startedAtMs })))
    .filter(({ entry, ageMs }) => entry.tool === tool && ageMs >= 0 && !entry.damaged && entry.raced === null)
    .filter(({ entry }) => !PSEUDONYM.test(entry.argumentsCanonical) && isUntouched(entry))
    .map((one) => ({ one, place: place(one), age: ageOf(one.ageMs) }))
    .toSorted((a, b) => (a.place < b.place ? -1 : 1));
  const distinct = new Map(candidates.toReversed().map((candidate) => [`${candidate.age}|${candidate.one.entry.callKey}`, candidate]));
  const byAge = Map.groupBy(
    [...distinct.values()].toSorted((a, b) => (a.place < b.place ? -1 : 1)),
    ({ age }) => age,
  );
  const chosen: Drifting[] = [];
  for (let round = 0; chosen.length < count && [...byAge.values()].some((some) => some.length > round); round += 1) {
    chosen.push(...[...byAge.values()].flatMap((some) => some.slice(round, round + 1).map(({ one }) => one)));
  }
  return chosen.slice(0, count);
}

/** Whether the world says something else now. Volatile paths, and whatever the recording had personal data in, say nothing. Pure. */
export function isChanged(
  recorded: Pick<TapeEntry, "result" | "isError">,
  live: { result: string; isError: boolean },
  profile: ToolProfile,
): boolean {
  if (recorded.isError !== live.isError) return true;
  const told = (text: string): unknown => withoutPaths(parseResult(text), profile.volatileResultPaths);
  return !saysTheSame(told(recorded.result), told(live.result));
}

function saysTheSame(recorded: unknown, live: unknown): boolean {
  if (typeof recorded === "string" && PSEUDONYM.test(recorded)) return true;
  if (recorded === null || live === null || typeof recorded !== "object" || typeof live !== "object") return recorded === live;
  if (Array.isArray(recorded) !== Array.isArray(live)) return false;
  if (Array.isArray(recorded) && recorded.length !== (live as unknown[]).length) return false;
  const [ours, theirs] = [new Map(Object.entries(recorded)), new Map(Object.entries(live))];
  return (
    [...theirs.keys()].every((name) => ours.has(name)) &&
    // An endpoint leaves personal data out: what it leaves out is compared as if it were nothing.
    [...ours].every(([name, value]) => saysTheSame(value, theirs.get(name)))
  );
}

/**
 * The share that changed, by age. A tool drifts where, from some age on that replay still serves, the share exceeds `maxWrongShare` in the ages that begin there and surely
 * (by its lower bound) in all that is older: the freshness to set is where the first such ages begin. Pure.
 */
export function driftOf(
  tool: string,
  { rereads, failed }: { rereads: readonly Reread[]; failed: number },
  { freshnessMs, maxWrongShare }: { freshnessMs: number | null; maxWrongShare: number },
): ToolDrift {
  const byAge = AGES.flatMap((toMs, place) => {
    const some = rereads.filter(({ ageMs }) => ageOf(ageMs) === place);
    const fromMs = AGES[place - 1] ?? 0;
    return some.length === 0 ? [] : [{ fromMs, toMs: Number.isFinite(toMs) ? toMs : null, ...shareOf(some) }];
  });
  const isServed = (ageMs: number): boolean => freshnessMs === null || ageMs <= freshnessMs;
  const served = rereads.filter(({ ageMs }) => isServed(ageMs));
  const drifting = byAge.find(({ fromMs, asked, changed }) => {
    const older = served.filter(({ ageMs }) => ageMs >= fromMs);
    return isServed(fromMs) && changed / asked > maxWrongShare && shareOf(older).lowerBound > maxWrongShare;
  });
  const verdict = served.length < MIN_ASKED ? "unknown" : drifting === undefined ? "holds" : "drifts";
  const advisedFreshnessMs = verdict === "drifts" && drifting !== undefined ? Math.max(1, drifting.fromMs) : null;
  return { tool, ...shareOf(rereads), byAge, failed, freshnessMs, served: served.length, verdict, advisedFreshnessMs };
}

/** Whether an operator may have a tool's recordings asked for again at all: whoever may not be read live in a rollout may not be here. */
export function isReread(
  tool: string,
  { pool, tools }: { pool: Pick<TapePool, "profiles">; tools: Readonly<Record<string, unknown>> },
): boolean {
  const { cls, evidence } = profileOf(pool.profiles, tool);
  return Object.hasOwn(tools, tool) && cls === "read" && evidence === "config";
}

function ageOf(ageMs: number): number {
  return AGES.findIndex((toMs) => ageMs < toMs);
}

function shareOf(rereads: readonly Reread[]): DriftShare {
  const changed = rereads.filter((one) => one.isChanged).length;
  const asked = rereads.length;
  return { asked, changed, lowerBound: lowerBound(changed, asked), upperBound: upperBound(changed, asked) };
}

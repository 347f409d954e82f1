import { EVERYTHING } from "../../trajectory/entities.ts";
import { UNKNOWN_ERA } from "../../trajectory/era.ts";
import { isStateless, mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import { lowerBound } from "../measure/binomial.ts";
import type { Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** By read tool, where one conversation's read was compared with another's though others had written elsewhere in between. */
export type RepeatRecord = ReadonlyMap<string, Repeats>;

interface Repeats {
  /** Pairs of conversations between which all of them were the same. */
  same: number;
  /** Writes to what the read does not name change it. */
  isCoupled: boolean;
}

/** Share of changes that a read surely exceeds before others' writes to what it does not name are held to change it. */
const MAX_CHANGED = 0.05;
/** One change may be anybody's whom nobody recorded. */
const MIN_CHANGED = 2;
/** Repeats that must have been the same before what others wrote elsewhere is known not to matter. */
const MIN_SAME = 5;

/**
 * Compares every read with the last like it in another conversation for which all that it names was in the same version and era, where anybody is known to have
 * written anything in between. A look that failed says nothing, and what two conversations tell of a tool is told once, however often they looked.
 */
export function checkRepeats(pool: TapePool, tapeIds: readonly string[]): RepeatRecord {
  const reads = tapeIds.flatMap((tapeId) => pool.counted(tapeId)).filter((seen) => isWholeRead(pool, seen));
  const byTool = Map.groupBy(reads, ({ entry }) => entry.tool);
  return new Map([...byTool].map(([tool, own]) => [tool, repeatsOf(pool, own)]));
}

function repeatsOf(pool: TapePool, reads: readonly PooledEntry[]): Repeats {
  const pairs = pairsOf(pool, reads);
  const changed = pairs.filter(({ isSame }) => !isSame);
  const isCoupled = areMany(changed.length, pairs.length) && !isOneOdd(pool, reads, changed);
  return { same: pairs.length - changed.length, isCoupled };
}

interface ConversationPair {
  conversations: readonly string[];
  isSame: boolean;
}

function pairsOf(pool: TapePool, reads: readonly PooledEntry[]): readonly ConversationPair[] {
  const alike = Map.groupBy(reads, ({ entry }) =>
    JSON.stringify([entry.callKey, entry.schemaHash, Object.entries(entry.entityVersion), Object.entries(entry.entityEra)]),
  );
  const pairs = new Map<string, ConversationPair>();
  for (const group of alike.values()) {
    const inTime = group.toSorted((one, other) => one.entry.startedAtMs - other.entry.startedAtMs);
    for (const [index, later] of inTime.entries()) {
      const earlier = inTime[index - 1];
      if (earlier === undefined || earlier.tape.conversationId === later.tape.conversationId) continue;
      if (writesBefore(pool, earlier) === writesBefore(pool, later)) continue;
      const conversations = [earlier.tape.conversationId, later.tape.conversationId].sort();
      const key = JSON.stringify(conversations);
      const isSame = (pairs.get(key)?.isSame ?? true) && pool.said(earlier) === pool.said(later);
      pairs.set(key, { conversations, isSame });
    }
  }
  return [...pairs.values()];
}

/** Whether a single conversation is in all the changes, and those around it tell of none without it. */
function isOneOdd(pool: TapePool, reads: readonly PooledEntry[], changed: readonly ConversationPair[]): boolean {
  const [first, ...others] = changed;
  const suspects = first?.conversations.filter((one) => others.every(({ conversations }) => conversations.includes(one))) ?? [];
  return suspects.some((odd) =>
    pairsOf(
      pool,
      reads.filter(({ tape }) => tape.conversationId !== odd),
    ).every(({ isSame }) => isSame),
  );
}

function areMany(changed: number, all: number): boolean {
  return changed >= MIN_CHANGED && lowerBound(changed, all) > MAX_CHANGED;
}

/** Whether tapes show that writes to what the read does not name change it. */
export function isCoupled(tool: string, record: RepeatRecord): boolean {
  return record.get(tool)?.isCoupled === true;
}

/** Whether another tape's answer may still be true: a coupled read's only where nobody is known to have written anything between the two. */
export function isUnmoved(situation: Situation, other: PooledEntry, record: RepeatRecord): boolean {
  return !isCoupled(other.entry.tool, record) || isUntouchedSince(situation, other);
}

/** Whether repeats showed that what others wrote elsewhere leaves the read alone. */
export function isSteady(tool: string, record: RepeatRecord): boolean {
  return (record.get(tool)?.same ?? 0) >= MIN_SAME;
}

/** Whether nobody is known to have written anything between the other tape's answer and now, but for the same writes of both conversations. */
export function isUntouchedSince({ pool, start, overlay }: Situation, other: PooledEntry): boolean {
  if (other.entry.writePrefix !== overlay.prefix || [...overlay.seen.values()].some((epoch) => epoch > 0)) return false;
  const now = pool.eras.before(EVERYTHING, { fromMs: start.clockMs, toMs: start.clockMs }, start.tapeId);
  const then = pool.eras.before(EVERYTHING, spanOf(other), other.tape.id);
  return now !== UNKNOWN_ERA && now === then;
}

function isWholeRead(pool: TapePool, { entry }: PooledEntry): boolean {
  const profile = profileOf(pool.profiles, entry.tool);
  if (mayWrite(profile) || isStateless(profile) || entry.isError || entry.damaged || entry.raced !== null) return false;
  return entry.entitiesTouched.length > 0 && !Object.values(entry.entityEra).includes(UNKNOWN_ERA);
}

/** Everybody's writes that had ended. */
function writesBefore(pool: TapePool, { entry }: PooledEntry): number {
  return pool.eras.before(EVERYTHING, { fromMs: entry.startedAtMs, toMs: entry.startedAtMs }, "");
}

function spanOf({ entry }: PooledEntry): { fromMs: number; toMs: number } {
  return { fromMs: entry.startedAtMs, toMs: entry.startedAtMs + entry.latencyMs };
}

import { EVERYTHING } from "../../trajectory/entities.ts";
import { UNKNOWN_ERA } from "../../trajectory/era.ts";
import { isStateless, mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import { beliefAfter, type Observed } from "../confidence.ts";
import { lowerBound } from "../measure/binomial.ts";
import type { Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** By read tool: one conversation's reads compared with another's. */
export type RepeatRecord = ReadonlyMap<string, Repeats>;

interface Repeats {
  /** Pairs of conversations between which somebody is known to have written something else: all of them the same, or not. */
  moved: Observed;
  /** The same where nobody is known to have written anything. */
  still: Observed;
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
 * Compares every read with the last like it in another conversation for which all that it names was in the same version and era. Only where anybody is known to have
 * written anything in between does it tell of what others write elsewhere; a change where nobody did tells of somebody whom nobody recorded. A look that failed says nothing, and what two conversations tell of a tool is told once, however often they looked.
 */
export function checkRepeats(pool: TapePool, tapeIds: readonly string[]): RepeatRecord {
  const reads = tapeIds.flatMap((tapeId) => pool.counted(tapeId)).filter((seen) => isWholeRead(pool, seen));
  const byTool = Map.groupBy(reads, ({ entry }) => entry.tool);
  return new Map([...byTool].map(([tool, own]) => [tool, repeatsOf(pool, own)]));
}

function repeatsOf(pool: TapePool, reads: readonly PooledEntry[]): Repeats {
  const pairs = pairsOf(pool, reads);
  const moved = pairs.filter(({ isMoved }) => isMoved);
  const changed = moved.filter(({ isSame }) => !isSame);
  const isCoupled = areMany(changed.length, moved.length) && !isOneOdd(pool, reads, changed);
  return { moved: counted(moved), still: counted(pairs.filter(({ isMoved }) => !isMoved)), isCoupled };
}

function counted(pairs: readonly ConversationPair[]): Observed {
  const same = pairs.filter(({ isSame }) => isSame).length;
  return { same, changed: pairs.length - same };
}

interface ConversationPair {
  conversations: readonly string[];
  isSame: boolean;
  /** Somebody is known to have written something in between. */
  isMoved: boolean;
}

function pairsOf(pool: TapePool, reads: readonly PooledEntry[]): readonly ConversationPair[] {
  const alike = Map.groupBy(reads, questionOf);
  const pairs = new Map<string, ConversationPair>();
  for (const group of alike.values()) {
    const inTime = group.toSorted((one, other) => one.entry.startedAtMs - other.entry.startedAtMs);
    for (const [index, later] of inTime.entries()) {
      const earlier = inTime[index - 1];
      if (earlier === undefined || earlier.tape.conversationId === later.tape.conversationId) continue;
      const isMoved = writesBefore(pool, earlier) !== writesBefore(pool, later);
      const conversations = [earlier.tape.conversationId, later.tape.conversationId].sort();
      const key = JSON.stringify([...conversations, isMoved]);
      const isSame = (pairs.get(key)?.isSame ?? true) && pool.said(earlier) === pool.said(later);
      pairs.set(key, { conversations, isSame, isMoved });
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
    ).every(({ isSame, isMoved }) => isSame || !isMoved),
  );
}

/** Equal for reads that ask the same of the same versions and eras. */
function questionOf({ entry }: PooledEntry): string {
  return JSON.stringify([entry.callKey, entry.schemaHash, Object.entries(entry.entityVersion), Object.entries(entry.entityEra)]);
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

/**
 * How far another tape's answer is believed, or what is made of it: as far as such reads were seen to last, and that tape and the own one to tell of one world. Where the
 * two answered the same question otherwise, somebody whom nobody recorded wrote in between, and what else changed nobody knows.
 */
export function beliefIn(situation: Situation, other: PooledEntry, record: RepeatRecord): number {
  const { moved, still, isCoupled: isMoving } = record.get(other.entry.tool) ?? NOTHING;
  const ofTool = isMoving ? [still] : [moved, still];
  const all = [...ofTool, betweenTapes(situation, other, record)];
  const sum = (of: keyof Observed): number => all.reduce((count, one) => count + one[of], 0);
  return beliefAfter({ same: sum("same"), changed: sum("changed") }, (isMoving ? still : moved).same >= MIN_SAME);
}

const NOTHING: Repeats = { moved: { same: 0, changed: 0 }, still: { same: 0, changed: 0 }, isCoupled: false };

/** Other tools by which the own and the other tape can be compared: all that both asked them in the same state answered alike, or not. */
function betweenTapes({ pool, start }: Situation, other: PooledEntry, record: RepeatRecord): Observed {
  const agreed = new Map<string, boolean>();
  for (const own of pool.ofTape(start.tapeId)) {
    const { tool, callKey } = own.entry;
    if (tool === other.entry.tool || agreed.get(tool) === false || isCoupled(tool, record) || !isWholeRead(pool, own)) continue;
    for (const seen of pool.ofTapeCall(other.tape.id, callKey)) {
      if (!isWholeRead(pool, seen) || questionOf(seen) !== questionOf(own)) continue;
      agreed.set(tool, (agreed.get(tool) ?? true) && pool.said(seen) === pool.said(own));
    }
  }
  const same = [...agreed.values()].filter(Boolean).length;
  return { same, changed: agreed.size - same };
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

import { canonicalJson } from "../../trajectory/canonical-arguments.ts";
import { EVERYTHING, isScalar } from "../../trajectory/entities.ts";
import type { TapeEntry } from "../../trajectory/tape.ts";
import { isStateless, mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import { addEvidence, isDoubted, isShown, type Evidence } from "./evidence.ts";
import { isRelated, madeHere, madeOf, writtenSince, type Made, type Pair, type Shown } from "./relations.ts";
import type { Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/**
 * In how many conversations a read was repeated with a write to something else in between, and was the same, or was not. By read tool, write tool and whether any tape
 * shows the one thing to name the other, and then what the write chose: a ticket's parent counts its children until they are done, and no number of other tickets tells that.
 */
export type ScopeRecord = ReadonlyMap<string, Evidence>;

/** Conversations in which a read must have been seen to be left alone by writes to what is related to it. */
const MIN_RELATED = 2;

/** Looks at every read, write to another entity, same read of every tape. */
export function checkScopes(pool: TapePool, tapeIds: readonly string[]): ScopeRecord {
  const record = new Map<string, Evidence>();
  for (const tapeId of tapeIds) {
    const entries = pool.counted(tapeId);
    const last = new Map<string, PooledEntry>();
    for (const later of entries) {
      const profile = profileOf(pool.profiles, later.entry.tool);
      if (mayWrite(profile) || isStateless(profile)) continue;
      const earlier = last.get(later.entry.callKey);
      last.set(later.entry.callKey, later);
      if (earlier === undefined || earlier.entry.writePrefix === later.entry.writePrefix || !sameOtherwise(earlier, later)) continue;
      const isSame = pool.said(earlier) === pool.said(later);
      const between = entries.slice(earlier.index + 1, later.index).filter(({ entry }) => entry.writeKey !== null);
      for (const key of new Set(between.map((write) => pairKey({ pool }, { read: madeOf(later), write: madeOf(write) }))))
        addEvidence(record, key, later.tape, isSame);
    }
  }
  return record;
}

/**
 * Whether tapes show that this read does not see the writes that this rollout made and its tape had not, or the other way round: each tool of them was seen to
 * leave such a read as it was, and never not to. Which of two entities is coupled to the other is nothing that a name tells.
 */
export function isApart(situation: Situation, own: PooledEntry, record: ScopeRecord): boolean {
  const read = madeOf(own);
  const entities = Object.keys(own.entry.entityVersion);
  return unlike(writtenSince(situation, own, Number.NEGATIVE_INFINITY), situation)
    .filter((write) => !touches(write.entities, entities))
    .every((write) => leavesAlone(situation, record, { read, write }));
}

/**
 * Whether another tape's read may be true here: the writes to other things that this rollout made and that tape had not, or that it made after this rollout began
 * and this rollout has not, leave it alone, as far as tapes tell; where nothing relates them to what it names, unless tapes tell otherwise.
 */
export function isUndisturbed(situation: Situation, other: PooledEntry, record: ScopeRecord): boolean {
  const read = madeOf(other);
  return unlike(writtenSince(situation, other, situation.start.clockMs), situation).every(
    (write) =>
      touches(write.entities, read.entities) ||
      isElsewhere(situation, record, { read, write }) ||
      leavesAlone(situation, record, { read, write }),
  );
}

/** Whether a write is to something that nothing relates to the read, and tapes do not show that it changes such reads all the same. */
export function isElsewhere(shown: Shown, record: ScopeRecord, pair: Pair): boolean {
  return !isRelated(shown, pair) && !isDoubted(record.get(pairKey(shown, pair)));
}

/** Whether tapes show that the read is the same after such a write to something else, and never otherwise. */
export function leavesAlone(shown: Shown, record: ScopeRecord, pair: Pair, least = 1): boolean {
  return isShown(record.get(pairKey(shown, pair)), isRelated(shown, pair) ? Math.max(least, MIN_RELATED) : least);
}

/** What only a tape, or only this rollout, wrote after what both began with. */
function unlike(theirs: readonly PooledEntry[], { overlay }: Situation): readonly Made[] {
  const parted = overlay.writes.findIndex(({ writeKey }, index) => theirs[index]?.entry.writeKey !== writeKey);
  const common = parted < 0 ? overlay.writes.length : parted;
  return [...theirs.slice(common).map(madeOf), ...overlay.writes.slice(common).map(madeHere)];
}

function touches(written: readonly string[], entities: readonly string[]): boolean {
  return written.includes(EVERYTHING) || written.some((entity) => entities.includes(entity));
}

/** Equal versions and eras: nobody wrote what the read names. A read that depends on everything names nothing less. */
function sameOtherwise({ entry: earlier }: PooledEntry, { entry: later }: PooledEntry): boolean {
  const named = later.entitiesTouched.filter((entity) => entity !== EVERYTHING);
  return named.length > 0 && named.every((entity) => equal(earlier, later, entity));
}

function equal(earlier: TapeEntry, later: TapeEntry, entity: string): boolean {
  const era = earlier.entityEra[entity] ?? -1;
  return era >= 0 && era === later.entityEra[entity] && earlier.entityVersion[entity] === later.entityVersion[entity];
}

function pairKey(shown: Shown, pair: Pair): string {
  const { read, write } = pair;
  return canonicalJson([read.tool, write.tool, isRelated(shown, pair) ? chosenIn(shown.pool, write) : null]);
}

/** What a write chose among few things: numbers are measures, and texts that were not said to be filters are content. */
function chosenIn({ profiles }: TapePool, { tool, args }: Made): Record<string, unknown> {
  const { argumentRoles } = profileOf(profiles, tool);
  const given = Object.entries(args !== null && typeof args === "object" ? args : {});
  return Object.fromEntries(
    given.filter(([name, value]) => argumentRoles[name] === "filter" && isScalar(value) && typeof value !== "number"),
  );
}

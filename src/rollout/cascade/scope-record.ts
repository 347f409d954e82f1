import { canonicalJson, withoutPaths } from "../../trajectory/canonical-arguments.ts";
import { EVERYTHING, isScalar } from "../../trajectory/entities.ts";
import type { TapeEntry } from "../../trajectory/tape.ts";
import { isStateless, mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import type { Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/**
 * How often a read was repeated with a write to something else in between, and was the same, or was not. By read tool, write tool and whether any tape shows the one
 * thing to name the other, and then what the write chose: a ticket's parent counts its children until they are done, and no number of other tickets tells that.
 */
export type ScopeRecord = ReadonlyMap<string, { same: number; changed: number }>;

/** A call and what it named. */
interface Made {
  tool: string;
  args: unknown;
  entities: readonly string[];
}

interface Pair {
  read: Made;
  write: Made;
}

/** Times that a read must have been seen to be left alone by writes to what is related to it. */
const MIN_RELATED = 2;

/** Looks at every read, write to another entity, same read of every tape. */
export function checkScopes(pool: TapePool, tapeIds: readonly string[]): ScopeRecord {
  const record = new Map<string, { same: number; changed: number }>();
  for (const tapeId of tapeIds) {
    const entries = pool.counted(tapeId);
    const last = new Map<string, PooledEntry>();
    for (const later of entries) {
      const profile = profileOf(pool.profiles, later.entry.tool);
      if (mayWrite(profile) || isStateless(profile)) continue;
      const earlier = last.get(later.entry.callKey);
      last.set(later.entry.callKey, later);
      if (earlier === undefined || earlier.entry.writePrefix === later.entry.writePrefix || !sameOtherwise(earlier, later)) continue;
      const shown = ({ parsed }: PooledEntry): string => canonicalJson(withoutPaths(parsed, profile.volatileResultPaths));
      const isSame = shown(earlier) === shown(later);
      const between = entries.slice(earlier.index + 1, later.index).filter(({ entry }) => entry.writeKey !== null);
      for (const key of new Set(between.map((write) => pairKey(pool, { read: madeOf(later), write: madeOf(write) })))) {
        const counts = record.get(key) ?? { same: 0, changed: 0 };
        record.set(key, isSame ? { ...counts, same: counts.same + 1 } : { ...counts, changed: counts.changed + 1 });
      }
    }
  }
  return record;
}

/**
 * Whether tapes show that this read does not see the writes that this rollout made and its tape had not, or the other way round: each tool of them was seen to
 * leave such a read as it was, and never not to. Which of two entities is coupled to the other is nothing that a name tells.
 */
export function isApart({ pool, overlay }: Situation, own: PooledEntry, record: ScopeRecord): boolean {
  const recorded = pool
    .ofTape(own.tape.id)
    .slice(0, own.index)
    .flatMap((seen) => (seen.entry.writeKey === null ? [] : [{ ...madeOf(seen), writeKey: seen.entry.writeKey }]));
  const writes = overlay.writes.map((write) => ({ ...write, args: Object.fromEntries(write.given) }));
  const parted = writes.findIndex(({ writeKey }, index) => recorded[index]?.writeKey !== writeKey);
  const common = parted < 0 ? writes.length : parted;
  const entities = Object.keys(own.entry.entityVersion);
  return [...recorded.slice(common), ...writes.slice(common)]
    .filter((write) => !touches(write.entities, entities))
    .every((write) => leavesAlone(pool, record, { read: madeOf(own), write }));
}

/**
 * Whether another tape's read may be true after the rollout's writes to other things: those that some tape shows to be related to what it names leave it alone, as
 * far as tapes tell. One that was read after the very same writes has seen them.
 */
export function isUndisturbed({ pool, overlay }: Situation, other: PooledEntry, record: ScopeRecord): boolean {
  if (other.entry.writePrefix === overlay.prefix) return true;
  const read = madeOf(other);
  return overlay.writes
    .map((write) => ({ read, write: { ...write, args: Object.fromEntries(write.given) } }))
    .every((pair) => touches(pair.write.entities, read.entities) || !isRelated(pool, pair) || leavesAlone(pool, record, pair));
}

/** Whether tapes show that the read is the same after such a write to something else, and never otherwise. */
export function leavesAlone(pool: TapePool, record: ScopeRecord, pair: Pair, least = 1): boolean {
  const counts = record.get(pairKey(pool, pair));
  const needed = isRelated(pool, pair) ? Math.max(least, MIN_RELATED) : least;
  return counts !== undefined && counts.same >= needed && counts.changed === 0;
}

function madeOf({ entry, args }: PooledEntry): Made {
  return { tool: entry.tool, args, entities: entry.entitiesTouched };
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

function pairKey(pool: TapePool, pair: Pair): string {
  const { read, write } = pair;
  return canonicalJson([read.tool, write.tool, isRelated(pool, pair) ? chosenIn(pool, write) : null]);
}

/** What a write chose among few things: numbers are measures, and texts that were not said to be filters are content. */
function chosenIn({ profiles }: TapePool, { tool, args }: Made): Record<string, unknown> {
  const { argumentRoles } = profileOf(profiles, tool);
  const given = Object.entries(args !== null && typeof args === "object" ? args : {});
  return Object.fromEntries(
    given.filter(([name, value]) => argumentRoles[name] === "filter" && isScalar(value) && typeof value !== "number"),
  );
}

/** Whether any tape shows the one's thing to name the other's. */
export function isRelated(pool: TapePool, { read, write }: Pair): boolean {
  return names(pool, read, write) || names(pool, write, read);
}

/** Whether something that one call named is shown somewhere with a key of the other. */
function names(pool: TapePool, one: Made, { tool, args }: Made): boolean {
  const { argumentRoles } = profileOf(pool.profiles, tool);
  const given = Object.entries(args !== null && typeof args === "object" ? args : {});
  const keys = given.flatMap(([name, value]) => (argumentRoles[name] === "key" && isScalar(value) ? [String(value)] : []));
  return one.entities.some((entity) => keys.some((key) => pool.shownOf(entity).has(key)));
}

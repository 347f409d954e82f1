import { canonicalJson, withoutPaths } from "../../trajectory/canonical-arguments.ts";
import { EVERYTHING } from "../../trajectory/entities.ts";
import type { TapeEntry } from "../../trajectory/tape.ts";
import { isStateless, mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import type { Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** How often a read was repeated with a write to something else in between, and was the same, or was not. By read tool and write tool. */
export type ScopeRecord = ReadonlyMap<string, { same: number; changed: number }>;

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
      for (const tool of new Set(between.map(({ entry }) => entry.tool))) {
        const key = pairKey(later.entry.tool, tool);
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
    .flatMap(({ entry }) => (entry.writeKey === null ? [] : [{ ...entry, writeKey: entry.writeKey, entities: entry.entitiesTouched }]));
  const { writes } = overlay;
  const parted = writes.findIndex(({ writeKey }, index) => recorded[index]?.writeKey !== writeKey);
  const common = parted < 0 ? writes.length : parted;
  const entities = Object.keys(own.entry.entityVersion);
  return [...recorded.slice(common), ...writes.slice(common)]
    .filter((write) => !touches(write.entities, entities))
    .every(({ tool }) => leavesAlone(record, own.entry.tool, tool));
}

/** Whether tapes show that the read is the same after such a write to something else, and never otherwise. */
export function leavesAlone(record: ScopeRecord, readTool: string, writeTool: string, least = 1): boolean {
  const counts = record.get(pairKey(readTool, writeTool));
  return counts !== undefined && counts.same >= least && counts.changed === 0;
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

function pairKey(read: string, write: string): string {
  return `${read}\n${write}`;
}

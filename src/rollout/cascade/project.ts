import { isScalar, type EntityView } from "../../trajectory/entities.ts";
import { onlyEntity, type Derived } from "./derive.ts";
import { addEvidence, isShown, type Evidence } from "./evidence.ts";
import { sameTool, type PreparedCall } from "./prepare.ts";
import { formatLike } from "./render.ts";
import { beliefIn, isCoupled, isUntouchedSince, type RepeatRecord } from "./repeats.ts";
import { isUndisturbed, type ScopeRecord } from "./scope-record.ts";
import { sameWorld, stillTrue, type Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** In how many conversations what one tool showed of an entity, in passing, was all that the read of it answered. By read tool and showing tool. */
export type ProjectionRecord = ReadonlyMap<string, Evidence>;

/** What tapes tell of pairs of tools, of writes elsewhere that change a read, and of those that leave one alone. */
export interface ProjectionEvidence {
  projections: ProjectionRecord;
  repeats: RepeatRecord;
  scopes: ScopeRecord;
}

/** Conversations that must have confirmed a pair of tools. */
const MIN_AGREED = 2;

/**
 * The answer to a read of E where a listing, or whatever else names E, has shown every field of it in this state (R4): that part in the shape of another such read.
 * Null where nothing shows all of it, or the tapes do not confirm that both tools tell the same. Where writes elsewhere change the read, what showed
 * it must be of this very moment.
 */
export function projectRead(situation: Situation, call: PreparedCall, learned: ProjectionEvidence): Derived | null {
  const { pool, start, overlay } = situation;
  const { projections: record, repeats, scopes } = learned;
  const entity = onlyEntity(pool, call);
  const example = pool
    .ofTool(call.tool)
    .find(({ entry, parsed }) => !entry.isError && sameTool(call, entry) && flatFields(parsed) !== null);
  if (entity === null || example === undefined) return null;
  const names = flatFields(example.parsed) ?? [];
  const shows = (seen: PooledEntry): boolean =>
    showsOther(seen, call.tool) && confirmed(record, call.tool, seen) && holds(seen.views.get(entity), names);
  const isMoving = isCoupled(call.tool, repeats);
  const isOwnNow = (seen: PooledEntry): boolean => stillTrue(situation, seen) && (!isMoving || seen.entry.writePrefix === overlay.prefix);
  const isOthersNow = (seen: PooledEntry): boolean =>
    sameWorld(situation, seen) && isUndisturbed(situation, seen, scopes) && (!isMoving || isUntouchedSince(situation, seen));
  const source =
    pool.aboutOn(start.tapeId, entity).find((seen) => shows(seen) && isOwnNow(seen)) ??
    pool.about(entity).find((seen) => shows(seen) && isOthersNow(seen));
  if (source === undefined) return null;
  const view = source.views.get(entity);
  const result = formatLike(example.entry.result, example.parsed, Object.fromEntries(names.map((name) => [name, view?.get(name)])));
  const confidence = source.tape.id === start.tapeId ? 0.95 : Math.min(0.95, beliefIn(situation, source, repeats));
  return { result, madeFrom: [...new Set([source.tape.id, example.tape.id])], confidence };
}

/** Compares every recorded read of an entity with what other tools of the same tape had shown of it in the same state. */
export function checkProjections(pool: TapePool, tapeIds: readonly string[]): ProjectionRecord {
  const record = new Map<string, Evidence>();
  for (const tapeId of tapeIds) {
    const entries = pool.counted(tapeId);
    for (const read of entries) {
      const entity = onlyEntity(pool, { tool: read.entry.tool, args: read.args });
      const names = flatFields(read.parsed);
      if (entity === null || names === null || read.entry.isError) continue;
      for (const shown of entries.filter(({ views }) => views.has(entity))) {
        const view = shown.views.get(entity);
        if (!showsOther(shown, read.entry.tool) || !sameMoment(read, shown, entity) || !holds(view, names)) continue;
        const fields = read.parsed as Record<string, unknown>;
        const isSame = names.every((name) => view?.get(name) === fields[name]);
        addEvidence(record, pairKey(read.entry.tool, shown), read.tape, isSame);
      }
    }
  }
  return record;
}

/** A whole answer of a read by another tool. A write's answer tells of the write. */
function showsOther({ entry }: PooledEntry, tool: string): boolean {
  return entry.tool !== tool && entry.writeKey === null && !entry.isError && !entry.damaged && entry.raced === null;
}

function sameMoment(one: PooledEntry, other: PooledEntry, entity: string): boolean {
  const era = one.entry.entityEra[entity] ?? -1;
  return one.entry.entityVersion[entity] === other.entry.entityVersion[entity] && era >= 0 && era === other.entry.entityEra[entity];
}

function confirmed(record: ProjectionRecord, tool: string, seen: PooledEntry): boolean {
  return isShown(record.get(pairKey(tool, seen)), MIN_AGREED);
}

function pairKey(readTool: string, { entry }: PooledEntry): string {
  return `${readTool}\n${entry.tool}\n${entry.schemaHash}`;
}

function holds(view: EntityView | undefined, names: readonly string[]): boolean {
  return view !== undefined && names.every((name) => view.has(name));
}

/** The names of an answer that is an object of scalars; null for any other. */
function flatFields(parsed: unknown): readonly string[] | null {
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) return null;
  const entries = Object.entries(parsed);
  return entries.length > 0 && entries.every(([, value]) => isScalar(value)) ? entries.map(([name]) => name) : null;
}

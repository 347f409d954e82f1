import { EVERYTHING, entitiesOfCall, isScalar, type EntityView, type Scalar } from "../../trajectory/entities.ts";
import { isStateless, mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import { sameTool, type PreparedCall } from "./prepare.ts";
import { formatLike } from "./render.ts";
import { atStart, inThisEra, sameWorld, stillTrue, type Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

export interface Derived {
  result: string;
  /** Tapes that the answer was made of. */
  madeFrom: readonly string[];
  /** 0.95 where tapes confirm that this read shows these writes so, 0.85 where none tells. */
  confidence: number;
}

/** How often the rule, applied to what the tapes show, gave what they recorded. By read tool and write tool. */
export type DerivationRecord = ReadonlyMap<string, { agreed: number; disagreed: number }>;

/**
 * The answer to a read of E after writes of E (R4): the last known answer with the fields that the writes returned, or, for an entity that a write of
 * this rollout created, those fields in the shape of another such read. Null where nothing can be said: no known answer, a write that showed no
 * field of the read, or a pair of tools for which a tape contradicts the rule.
 */
export function deriveRead(situation: Situation, call: PreparedCall, record: DerivationRecord): Derived | null {
  const { pool, overlay } = situation;
  const entity = onlyEntity(pool, call);
  if (entity === null) return null;
  const writes = overlay.writes.filter((write) => write.entities.includes(entity) || write.entities.includes(EVERYTHING));
  if (writes.length === 0) return null;
  if (writes.some((write) => isContradicted(record, call.tool, write.tool))) return null;
  const records = writes.map((write) => record.get(pairKey(call.tool, write.tool)) ?? { agreed: 0, disagreed: 0 });
  const base = baseAnswer(situation, call);
  const effects = writes.map(({ views, given }) => ({ view: views.get(entity) ?? new Map(), given }));
  const result =
    base === null
      ? created(
          pool,
          call,
          entity,
          effects.map(({ view }) => view),
        )
      : applied(base, effects);
  if (result === null) return null;
  const madeFrom = base === null ? [] : [base.tape.id];
  return { result, madeFrom, confidence: records.every((counts) => counts.agreed > 0) ? 0.95 : 0.85 };
}

/** Tries the rule on every read, write, same read of every tape. */
export function checkDerivations(pool: TapePool, tapeIds: readonly string[]): DerivationRecord {
  const record = new Map<string, { agreed: number; disagreed: number }>();
  for (const tapeId of tapeIds) {
    const entries = pool.ofTape(tapeId);
    for (const [index, later] of entries.entries()) checkOne(pool, entries.slice(0, index), later, record);
  }
  return record;
}

function checkOne(
  pool: TapePool,
  before: readonly PooledEntry[],
  later: PooledEntry,
  record: Map<string, { agreed: number; disagreed: number }>,
): void {
  const entity = onlyEntity(pool, { tool: later.entry.tool, args: later.args });
  if (entity === null || later.entry.entityVersion[entity] === "") return;
  const base = before.findLast(
    ({ entry }) => entry.callKey === later.entry.callKey && entry.entityVersion[entity] === "" && !entry.isError,
  );
  if (base === undefined) return;
  const writes = before.filter(({ entry }) => entry.writeKey !== null && entry.entitiesTouched.includes(entity));
  // Another conversation's write in between would be blamed on the rule.
  const [eraBefore, eraAfter] = [base.entry.entityEra[entity] ?? 0, later.entry.entityEra[entity] ?? 0];
  if (eraBefore < 0 || eraAfter - eraBefore !== writes.length) return;
  const derived = applied(
    base,
    writes.map(({ views, args }) => ({ view: views.get(entity) ?? new Map(), given: givenIn(args) })),
  );
  if (derived === null) return;
  for (const { entry } of writes) {
    const key = pairKey(later.entry.tool, entry.tool);
    const counts = record.get(key) ?? { agreed: 0, disagreed: 0 };
    if (derived === later.entry.result) counts.agreed += 1;
    else counts.disagreed += 1;
    record.set(key, counts);
  }
}

/** Whether a tape shows that this read tells something else after this write than what the write returned. */
export function isContradicted(record: DerivationRecord, readTool: string, writeTool: string): boolean {
  return (record.get(pairKey(readTool, writeTool))?.disagreed ?? 0) > 0;
}

function pairKey(readTool: string, writeTool: string): string {
  return `${readTool}\n${writeTool}`;
}

/** The one entity that a read with entity scope names; null for anything else. */
export function onlyEntity(pool: TapePool, call: { tool: string; args: unknown }): string | null {
  const profile = profileOf(pool.profiles, call.tool);
  if (mayWrite(profile) || isStateless(profile)) return null;
  const [entity, ...others] = entitiesOfCall(profile, call.args);
  return entity === undefined || entity === EVERYTHING || others.length > 0 ? null : entity;
}

/** What the tapes answered to this call before the rollout wrote. */
function baseAnswer(situation: Situation, call: PreparedCall): PooledEntry | null {
  const before = atStart(situation);
  const own = situation.pool
    .ofTapeCall(situation.start.tapeId, call.callKey)
    .find((seen) => seen.entry.raced === null && !seen.entry.isError && stillTrue(before, seen));
  if (own !== undefined) return own;
  return inThisEra(before, call).find((seen) => !seen.entry.isError && sameTool(call, seen.entry) && sameWorld(before, seen)) ?? null;
}

/** What one write says of the entity, and what it was given. */
interface Effect {
  view: EntityView;
  given: EntityView;
}

/** A call's scalar arguments by name. */
export function givenIn(args: unknown): EntityView {
  const entries = args === null || typeof args !== "object" || Array.isArray(args) ? [] : Object.entries(args);
  return new Map(entries.filter((entry): entry is [string, Scalar] => isScalar(entry[1])));
}

/**
 * The known answer with the fields that the writes returned, or were given where they did not say; null when some write changes none of them: then its effect is
 * not in what it said.
 */
function applied(base: PooledEntry, effects: readonly Effect[]): string | null {
  const { parsed } = base;
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) return null;
  const fields = new Map(Object.entries(parsed) as [string, unknown][]);
  for (const { view, given } of effects) {
    const changed = [...new Map([...given, ...view])].filter(
      ([name, value]) => fields.has(name) && isScalar(fields.get(name)) && fields.get(name) !== value,
    );
    if (changed.length === 0) return null;
    for (const [name, value] of changed) fields.set(name, value);
  }
  return formatLike(base.entry.result, parsed, Object.fromEntries(fields));
}

/** The answer for an entity that only this rollout's writes know; null unless they returned every field that such reads show. */
function created(pool: TapePool, call: PreparedCall, entity: string, views: readonly EntityView[]): string | null {
  if (pool.knowsEntity(entity)) return null;
  const example = pool.ofTool(call.tool).find(({ entry }) => !entry.isError && sameTool(call, entry));
  if (example === undefined || example.parsed === null || typeof example.parsed !== "object" || Array.isArray(example.parsed)) return null;
  const known = new Map(views.flatMap((view) => [...view]));
  const names = Object.keys(example.parsed);
  if (!names.every((name) => known.has(name))) return null;
  return formatLike(example.entry.result, example.parsed, Object.fromEntries(names.map((name) => [name, known.get(name)])));
}

import { EVERYTHING, entitiesOfCall, type EntityView, type Scalar } from "../../trajectory/entities.ts";
import { UNKNOWN_ERA } from "../../trajectory/era.ts";
import type { Names } from "../../trajectory/names.ts";
import type { ToolShape } from "../../trajectory/record-tape.ts";
import { profileOf } from "../../trajectory/tool-profile.ts";
import { countOf, versionOf } from "../../trajectory/write-state.ts";
import { TIME } from "./epochs.ts";
import type { Overlay } from "./overlay.ts";
import type { PreparedCall } from "./prepare.ts";
import { isRelated, madeOf, writtenSince } from "./relations.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** Where a rollout starts: what the cascade needs to know of a scenario. */
export interface ReplayStart {
  scenarioId: string;
  /** The scenario's own tape. */
  tapeId: string;
  clockMs: number;
  tools: readonly ToolShape[];
  /** Of `tools`. */
  schemaHashes: ReadonlySet<string>;
  /** Who is who: between the numbers in this scenario's texts and the pseudonyms on tapes. */
  names: Names;
  /** Everything the agent was told in the conversation's recorded messages, as tapes say it: a key in there is no invention of the agent. */
  toldText: string;
}

/** The world as one rollout sees it at one moment. Everything that decides an answer is in here or in the call. */
export interface Situation {
  pool: TapePool;
  start: ReplayStart;
  overlay: Overlay;
}

/** Whether the writes to every entity that the entry touched are, on its tape before it, exactly those of the rollout so far. */
export function sameVersions({ overlay }: Situation, { entry }: Pick<PooledEntry, "entry">): boolean {
  return Object.entries(entry.entityVersion).every(([entity, version]) => versionOf(overlay.writes, entity) === version);
}

/**
 * Whether an entry of the own tape may be served now: same versions, and not from before a change by others that the rollout has seen. What is of before another
 * entity's change must be shown to have been the same after it.
 */
export function stillTrue(situation: Situation, own: PooledEntry): boolean {
  const { seen } = situation.overlay;
  const time = seen.get(TIME) ?? 0;
  return (
    sameVersions(situation, own) &&
    Object.entries(own.epochs).every(([entity, epoch]) => entity === TIME || epoch >= (seen.get(entity) ?? 0)) &&
    (own.index >= time || Object.values(own.until).every((until) => until >= time))
  );
}

/**
 * Whether an entry of another tape saw the world that this rollout is in (R3): equal versions, equal eras (no conversation wrote in between), fresh
 * enough, and no field of a touched entity that both tapes show differs.
 */
export function sameWorld(situation: Situation, other: PooledEntry): boolean {
  const { pool, start } = situation;
  if (other.tape.id === start.tapeId || other.entry.raced !== null || other.entry.damaged) return false;
  // The tool under another schema is another tool: its answer may mean something else.
  if (!start.schemaHashes.has(other.entry.schemaHash)) return false;
  const { freshnessMs } = profileOf(pool.profiles, other.entry.tool);
  if (freshnessMs !== null && Math.abs(other.entry.startedAtMs - start.clockMs) > freshnessMs) return false;
  if (!sameVersions(situation, other) || !other.entry.entitiesTouched.every((entity) => sameEra(situation, other, entity))) return false;
  return other.entry.entitiesTouched.every((entity) => entity === EVERYTHING || !contradicts(situation, other, entity));
}

/**
 * Whether others' answers to a call may be true beside the own tape's: not where that answered this very call otherwise, after the same writes to all that it names.
 * Among which others it did, only the own answers can tell. Those are read once for all candidates.
 */
export function agreesWithOwn(situation: Situation, call: Pick<PreparedCall, "callKey">): (other: PooledEntry) => boolean {
  const { pool, start } = situation;
  let own: ReadonlySet<string> | null = null;
  return (other) => {
    own ??= new Set(
      pool
        .ofTapeCall(start.tapeId, call.callKey)
        .filter((seen) => seen.entry.raced === null && sameVersions(situation, seen))
        .map((seen) => pool.said(seen)),
    );
    return own.size === 0 || own.has(pool.said(other));
  };
}

/** Entries for the call on any tape that may have seen the world of now, newest first: thousands of tapes may have asked the same, few in this era. */
export function inThisEra(situation: Situation, call: Pick<PreparedCall, "callKey" | "profile" | "args">): readonly PooledEntry[] {
  const [entity] = entitiesOfCall(call.profile, call.args);
  if (entity === undefined) return situation.pool.ofCall(call.callKey);
  const era = eraNow(situation, entity);
  return era === null ? [] : situation.pool.ofCallInEra(call.callKey, entity, era);
}

/** What the tapes and the rollout's own writes say of an entity now, else what it was told by no tape; null when nobody has seen it. A function of tapes, start and overlay. */
export function knownView(situation: Situation, entity: string): EntityView | null {
  const now = observedView(situation, entity);
  if (now !== null) return now;
  const { writes, offTape } = situation.overlay;
  const told = offTape.get(entity) ?? null;
  // What was known before a write that said nothing of it, nobody knows after it.
  const silent = writes.findLastIndex(
    ({ entities, views }) => !views.has(entity) && (entities.includes(entity) || entities.includes(EVERYTHING)),
  );
  const written = writes.slice(silent + 1).filter(({ views }) => views.has(entity));
  if (written.length === 0) return told;
  const before = silent < 0 ? (observedView(atStart(situation), entity) ?? told) : null;
  return mergedViews([before, ...written.map((write) => write.views.get(entity))]);
}

/** The other tape that `knownView` looked at; null where it is the own one, or none. */
export function viewSource(situation: Situation, entity: string): string | null {
  for (const at of [situation, atStart(situation)]) {
    if (observedOnOwn(at, entity).length > 0) return null;
    const other = observedElsewhere(at, entity);
    if (other !== undefined) return other.tape.id;
  }
  return null;
}

/** The situation before the rollout wrote anything. */
export function atStart(situation: Situation): Situation {
  return { ...situation, overlay: { ...situation.overlay, writes: [], prefix: "" } };
}

/** One view of several; later ones win. */
export function mergedViews(views: readonly (EntityView | null | undefined)[]): EntityView {
  return new Map(views.flatMap((view) => [...(view ?? [])]));
}

function observedView(situation: Situation, entity: string): EntityView | null {
  const own = observedOnOwn(situation, entity);
  // The earliest observation is nearest to the scenario's start, so it wins.
  if (own.length > 0) return mergedViews(own.map(({ views }) => views.get(entity)).reverse());
  return observedElsewhere(situation, entity)?.views.get(entity) ?? null;
}

function observedOnOwn(situation: Situation, entity: string): PooledEntry[] {
  const { pool, start } = situation;
  return pool.aboutOn(start.tapeId, entity).filter((seen) => seen.entry.writeKey === null && stillTrue(situation, seen));
}

function observedElsewhere(situation: Situation, entity: string): PooledEntry | undefined {
  return situation.pool
    .about(entity)
    .find((seen) => seen.entry.writeKey === null && !seen.entry.isError && sameWorld(situation, seen) && !hasMovedItself(situation, seen));
}

/** Whether that tape had written to something related, and this rollout's world has not: what it saw may count that in. */
function hasMovedItself(situation: Situation, seen: PooledEntry): boolean {
  const read = madeOf(seen);
  return writtenSince(situation, seen, situation.start.clockMs).some((write) => isRelated(situation, { read, write: madeOf(write) }));
}

function sameEra(situation: Situation, { entry }: PooledEntry, entity: string): boolean {
  const era = entry.entityEra[entity] ?? UNKNOWN_ERA;
  return era !== UNKNOWN_ERA && eraNow(situation, entity) === era;
}

/** How many writes the entity has had by now, the rollout's own included; null where nobody can say. */
function eraNow({ pool, start, overlay }: Situation, entity: string): number | null {
  // The rollout has seen a change by others: which of their states it is in now, no other tape can say.
  if ((overlay.seen.get(entity) ?? 0) > 0) return null;
  const atStart = pool.eras.before(entity, { fromMs: start.clockMs, toMs: start.clockMs }, start.tapeId);
  return atStart === UNKNOWN_ERA ? null : atStart + countOf(overlay.writes, entity);
}

function contradicts(situation: Situation, other: PooledEntry, entity: string): boolean {
  const { pool, start } = situation;
  const version = other.entry.entityVersion[entity];
  const sameTime = (seen: PooledEntry): boolean => seen.entry.writeKey === null && seen.entry.entityVersion[entity] === version;
  const own = pool.aboutOn(start.tapeId, entity).filter(sameTime);
  if (own.length === 0) return false;
  const theirs = pool
    .aboutOn(other.tape.id, entity)
    .filter((seen) => sameTime(seen) && seen.entry.entityEra[entity] === other.entry.entityEra[entity]);
  const volatile = new Set([other, ...own].flatMap(({ entry }) => profileOf(pool.profiles, entry.tool).volatileResultPaths));
  const [ours, seen] = [valuesOf(own, entity), valuesOf(theirs, entity)];
  return [...ours].some(([field, values]) => {
    const others = seen.get(field);
    return others !== undefined && !volatile.has(field) && ![...values].some((value) => others.has(value));
  });
}

function valuesOf(entries: readonly PooledEntry[], entity: string): Map<string, Set<Scalar>> {
  const values = new Map<string, Set<Scalar>>();
  for (const { views } of entries) {
    for (const [field, value] of views.get(entity) ?? []) values.set(field, (values.get(field) ?? new Set()).add(value));
  }
  return values;
}

import { canonicalJson, withoutPaths } from "../../trajectory/canonical-arguments.ts";
import { EVERYTHING, entitiesOfCall, isScalar, viewsOf, type EntityView, type Scalar } from "../../trajectory/entities.ts";
import { parseResult } from "../../trajectory/record-tape.ts";
import { isStateless, mayWrite, profileOf } from "../../trajectory/tool-profile.ts";
import { extendPrefix } from "../../trajectory/write-state.ts";
import { addEvidence, isRefuted, type Evidence } from "./evidence.ts";
import type { OverlayWrite } from "./overlay.ts";
import { sameTool, type PreparedCall } from "./prepare.ts";
import { beliefIn, isCoupled, isUnmoved, type RepeatRecord } from "./repeats.ts";
import { formatLike } from "./render.ts";
import { madeHere } from "./relations.ts";
import { isElsewhere, isUndisturbed, leavesAlone, type ScopeRecord } from "./scope-record.ts";
import { atStart, inThisEra, sameWorld, stillTrue, type Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

export interface Derived {
  result: string;
  /** Tapes that the answer was made of. */
  madeFrom: readonly string[];
  /** 0.95 where tapes confirm that this read shows these writes so, 0.85 where none tells. */
  confidence: number;
}

/** In how many conversations the rule, applied to what the tapes show, gave what they recorded. By read tool and write tool. */
export type DerivationRecord = ReadonlyMap<string, Evidence>;

/** What tapes tell of reads after writes: to what they name, and to anything else. */
export interface ReadRecords {
  derivations: DerivationRecord;
  scopes: ScopeRecord;
  repeats: RepeatRecord;
}

/** Conversations that must have shown that a write leaves a read as it was, or as the write was asked to, where nothing else says so. */
const MIN_UNCHANGED = 2;

/**
 * The answer to a read of E after writes of E (R4): the last known answer with the fields that the writes returned, or were given, or, for an entity that a
 * write of this rollout created, those fields in the shape of another such read. A read that other writes may change, too, must be seen to be left alone by
 * those that were made. Null where nothing can be said: no known answer, a write that showed no field of the read, or a pair of tools for which
 * a tape contradicts the rule.
 */
export function deriveRead(situation: Situation, call: PreparedCall, records: ReadRecords): Derived | null {
  const { pool, overlay } = situation;
  const entity = namedEntity(pool, call);
  if (entity === null || overlay.writes.length === 0) return null;
  const { base, writes } = sinceMade(pool, lastKnown(situation, call, entity, records), overlay.writes, entity);
  const about = writes.filter(({ entities }) => entities.includes(entity) || entities.includes(EVERYTHING));
  if (base === null && about.length === 0) return null;
  const isLeft = (write: OverlayWrite): boolean => {
    const pair = { read: { ...call, entities: [entity] }, write: madeHere(write) };
    const isNowhere = isNarrow(call, records.repeats) && isElsewhere(situation, records.scopes, pair);
    return isNowhere || leavesAlone(situation, records.scopes, pair, MIN_UNCHANGED);
  };
  if (!writes.every((write) => about.includes(write) || (isLeft(write) && !touchesOther(base, write, entity)))) return null;
  if (about.some((write) => isContradicted(records.derivations, call.tool, write.tool))) return null;
  const agreed = about.map((write) => records.derivations.get(pairKey(call.tool, write.tool))?.for.size ?? 0);
  const effects = about.flatMap(({ views, given, answer }, index) => {
    const isConfirmed = (agreed[index] ?? 0) >= MIN_UNCHANGED;
    return effectOf(views.get(entity), isConfirmed ? given : untold(given), answer) ?? [];
  });
  if (effects.length < about.length) return null;
  const result =
    base === null
      ? created(situation, call, entity, effects)
      : applied(
          base,
          effects,
          agreed.every((count) => count >= MIN_UNCHANGED),
        );
  if (result === null) return null;
  const confidence = agreed.every((count) => count > 0) ? 0.95 : 0.85;
  if (base === null) return { result, madeFrom: [], confidence };
  // No further than what it was made of.
  const isOwn = base.tape.id === situation.start.tapeId;
  return {
    result,
    madeFrom: [base.tape.id],
    confidence: isOwn ? confidence : Math.min(confidence, beliefIn(situation, base, records.repeats)),
  };
}

/** Whether a read depends on what it names alone. */
function isNarrow({ tool, profile }: PreparedCall, repeats: RepeatRecord): boolean {
  return profile.scope === "entities" && !isCoupled(tool, repeats);
}

interface Known {
  base: PooledEntry | null;
  writes: readonly OverlayWrite[];
}

/** What was known of an id before one of the writes gave it to something new was of another thing. */
function sinceMade(pool: TapePool, known: Known, all: readonly OverlayWrite[], entity: string): Known {
  const made = all.findLastIndex((write) => givesId(pool, write, entity));
  return made < all.length - known.writes.length ? known : { base: null, writes: all.slice(made) };
}

/** Whether nothing but an id that the write gave out names the entity. */
function givesId(pool: TapePool, { tool, views, answer }: OverlayWrite, entity: string): boolean {
  const { volatileResultPaths } = profileOf(pool.profiles, tool);
  return views.has(entity) && !viewsOf(withoutPaths(answer, volatileResultPaths), pool.templates).has(entity);
}

/** Whether a write was to something else that the known answer shows. */
function touchesOther(base: PooledEntry | null, { entities }: OverlayWrite, entity: string): boolean {
  return base !== null && base.entry.entitiesTouched.some((other) => other !== EVERYTHING && other !== entity && entities.includes(other));
}

/** Tries the rule on every read, write, same read of every tape. */
export function checkDerivations(pool: TapePool, tapeIds: readonly string[]): DerivationRecord {
  const record = new Map<string, Evidence>();
  for (const tapeId of tapeIds) {
    const entries = pool.counted(tapeId);
    for (const [index, later] of entries.entries()) checkOne(pool, entries.slice(0, index), later, record);
  }
  return record;
}

function checkOne(pool: TapePool, before: readonly PooledEntry[], later: PooledEntry, record: Map<string, Evidence>): void {
  const entity = namedEntity(pool, { tool: later.entry.tool, args: later.args });
  if (entity === null) return;
  const base = before.findLast(({ entry }) => entry.callKey === later.entry.callKey && !entry.isError);
  // A look that failed, for a timeout as well as anything, contradicts nothing.
  if (base === undefined || later.entry.isError) return;
  const profile = profileOf(pool.profiles, later.entry.tool);
  const between = before.slice(base.index + 1).filter(({ entry }) => entry.writeKey !== null);
  const writes = between.filter(({ entry }) => entry.entitiesTouched.includes(entity));
  // What another write did would be blamed on the rule: the conversation's, where the read may depend on it, and another conversation's.
  if (writes.length === 0 || (profile.scope !== "entities" && writes.length < between.length)) return;
  const [eraBefore, eraAfter] = [base.entry.entityEra[entity] ?? 0, later.entry.entityEra[entity] ?? 0];
  if (eraBefore < 0 || eraAfter - eraBefore !== writes.length) return;
  const effects = writes.flatMap(({ views, args, parsed }) => effectOf(views.get(entity), givenIn(args), parsed) ?? []);
  const derived = effects.length < writes.length ? null : applied(base, effects, true);
  if (derived === null) return;
  const isRight = canonicalJson(withoutPaths(parseResult(derived), profile.volatileResultPaths)) === pool.said(later);
  for (const { entry } of writes) addEvidence(record, pairKey(later.entry.tool, entry.tool), later.tape, isRight);
}

/** Whether tapes show that this read tells something else after this write than what the write returned. */
export function isContradicted(record: DerivationRecord, readTool: string, writeTool: string): boolean {
  return isRefuted(record.get(pairKey(readTool, writeTool)));
}

function pairKey(readTool: string, writeTool: string): string {
  return `${readTool}\n${writeTool}`;
}

/** The one entity that a read with entity scope names; null for anything else. */
export function onlyEntity(pool: TapePool, call: { tool: string; args: unknown }): string | null {
  const profile = profileOf(pool.profiles, call.tool);
  return profile.scope === "entities" ? namedEntity(pool, call) : null;
}

/** The one entity that a read names, whatever else it may depend on; null for anything else. */
function namedEntity(pool: TapePool, call: { tool: string; args: unknown }): string | null {
  const profile = profileOf(pool.profiles, call.tool);
  if (mayWrite(profile) || isStateless(profile) || profile.entityPaths.length === 0) return null;
  const all = entitiesOfCall(profile, call.args);
  const [entity, ...others] = all.filter((one) => one !== EVERYTHING);
  const isWide = all.includes(EVERYTHING) && profile.scope === "entities";
  return entity === undefined || others.length > 0 || isWide ? null : entity;
}

/** The latest answer to this call on the own tape of which the rollout has all writes before it, else what tapes answered before the rollout wrote; and the writes since. */
function lastKnown(situation: Situation, call: PreparedCall, entity: string, { repeats, scopes }: ReadRecords): Known {
  const { pool, start, overlay } = situation;
  const all = overlay.writes;
  const prefixes = all.reduce((known, write) => [...known, extendPrefix(known.at(-1) ?? "", write)], [""]);
  const answers = pool
    .ofTapeCall(start.tapeId, call.callKey)
    .filter(({ entry }) => entry.raced === null && !entry.isError && !entry.damaged);
  for (let count = all.length; count >= 0; count -= 1) {
    const then = { ...situation, overlay: { ...overlay, writes: all.slice(0, count), prefix: prefixes[count] ?? "" } };
    const base = answers.find((seen) => seen.entry.writePrefix === prefixes[count] && stillTrue(then, seen));
    if (base !== undefined) return { base, writes: all.slice(count) };
  }
  const before = atStart(situation);
  const own = answers.find((seen) => (seen.entry.entityVersion[entity] ?? "") === "" && isNarrow(call, repeats) && stillTrue(before, seen));
  const isBase = (seen: PooledEntry): boolean =>
    !seen.entry.isError &&
    sameTool(call, seen.entry) &&
    sameWorld(before, seen) &&
    isUnmoved(before, seen, repeats) &&
    isUndisturbed(before, seen, scopes);
  return { base: own ?? inThisEra(before, call).find(isBase) ?? null, writes: all };
}

/** What one write says of the entity: what it was given, and above it what it answered. */
type Effect = ReadonlyMap<string, unknown>;

/** Stands for a field's value after a write that was given one, where tapes do not confirm that the read shows it so: what was given may be added to what was there. */
const UNTOLD: unknown = Object.freeze({ untold: true });

function untold(given: EntityView): Effect {
  return new Map([...given.keys()].map((name) => [name, UNTOLD]));
}

/** Null where a write that touched the entity said nothing of it: then what it was given may be another's. */
function effectOf(view: EntityView | undefined, given: Effect, answer: unknown): Effect | null {
  return view === undefined ? null : new Map<string, unknown>([...given, ...view, ...listsOf(view, answer)]);
}

/** Lists of plain values beside the entity's own fields. */
function listsOf(view: EntityView, answer: unknown): readonly (readonly [string, unknown])[] {
  if (answer === null || typeof answer !== "object" || Array.isArray(answer)) return [];
  const fields = Object.entries(answer) as [string, unknown][];
  const isOf = fields.every(([name, value]) => !isScalar(value) || view.get(name) === value);
  return isOf ? fields.filter(([, value]) => isPlainList(value)) : [];
}

function isPlainList(value: unknown): boolean {
  return Array.isArray(value) && value.every(isScalar);
}

/** A call's scalar arguments by name. */
export function givenIn(args: unknown): EntityView {
  const entries = args === null || typeof args !== "object" || Array.isArray(args) ? [] : Object.entries(args);
  return new Map(entries.filter((entry): entry is [string, Scalar] => isScalar(entry[1])));
}

/**
 * The known answer with the fields that the writes returned, or were given where they did not say; null when some write says nothing of the read beside what was
 * asked for: then its effect is not in what it said, and when a field is left untold. A write that changed nothing tells that only where `isConfirmed`.
 */
function applied(base: PooledEntry, effects: readonly Effect[], isConfirmed: boolean): string | null {
  const { parsed } = base;
  if (parsed === null || typeof parsed !== "object" || Array.isArray(parsed)) return null;
  const fields = new Map(Object.entries(parsed) as [string, unknown][]);
  const asked = givenIn(base.args);
  for (const effect of effects) {
    const told = [...effect].filter(([name]) => fields.has(name) && !asked.has(name) && isLike(fields.get(name), effect.get(name)));
    const changed = told.filter(([name, value]) => canonicalJson(fields.get(name)) !== canonicalJson(value));
    if (told.length === 0 || (changed.length === 0 && !isConfirmed)) return null;
    for (const [name, value] of changed) fields.set(name, value);
  }
  if ([...fields.values()].includes(UNTOLD)) return null;
  return formatLike(base.entry.result, parsed, Object.fromEntries(fields));
}

function isLike(one: unknown, other: unknown): boolean {
  const isOne = (value: unknown): boolean => isScalar(value) || value === UNTOLD;
  return (isOne(one) && isOne(other)) || (isPlainList(one) && isPlainList(other));
}

/** The answer for an entity that only this rollout's writes know; null unless they returned every field that such reads show. */
function created({ pool, overlay }: Situation, call: PreparedCall, entity: string, effects: readonly Effect[]): string | null {
  if (pool.knowsEntity(entity) && !overlay.writes.some((write) => givesId(pool, write, entity))) return null;
  const example = pool.ofTool(call.tool).find(({ entry }) => !entry.isError && sameTool(call, entry));
  if (example === undefined || example.parsed === null || typeof example.parsed !== "object" || Array.isArray(example.parsed)) return null;
  const known = new Map(effects.flatMap((effect) => [...effect]));
  const names = Object.keys(example.parsed);
  if (!names.every((name) => known.has(name) && known.get(name) !== UNTOLD)) return null;
  return formatLike(example.entry.result, example.parsed, Object.fromEntries(names.map((name) => [name, known.get(name)])));
}

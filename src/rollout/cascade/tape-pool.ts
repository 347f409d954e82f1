import { nightshiftError } from "../../errors.ts";
import { createEraIndex, type EraIndex } from "../../trajectory/era.ts";
import { epochsOf } from "./epochs.ts";
import { entitiesOfCall, isScalar, templatesOf, viewsOf, type EntityView } from "../../trajectory/entities.ts";
import { parseResult } from "../../trajectory/record-tape.ts";
import type { Tape, TapeEntry } from "../../trajectory/tape.ts";
import { profileOf, type ToolProfiles } from "../../trajectory/tool-profile.ts";

/** One tape entry, with what replay needs of it parsed once. */
export interface PooledEntry {
  tape: Tape;
  index: number;
  entry: TapeEntry;
  args: unknown;
  /** The answer parsed, or its text. */
  parsed: unknown;
  /** What the answer says of each entity that it names. */
  views: ReadonlyMap<string, EntityView>;
  /** Per touched entity: how often somebody else had changed it since the conversation began, as far as its tape shows. */
  epochs: Readonly<Record<string, number>>;
  /** Per touched entity: the last place on its tape at which others had not changed it further. */
  until: Readonly<Record<string, number>>;
}

/** The tapes that may answer one run, indexed. Immutable; one per run and split. */
export interface TapePool {
  profiles: ToolProfiles;
  templates: readonly string[];
  eras: EraIndex;
  /** Entries of one tape, in order. */
  ofTape(tapeId: string): readonly PooledEntry[];
  /** A tape's entries for one call, in order. */
  ofTapeCall(tapeId: string, callKey: string): readonly PooledEntry[];
  /** All entries for one call, newest first. */
  ofCall(callKey: string): readonly PooledEntry[];
  /** Those of them that were answered when the first entity that the call's arguments name had this many writes, newest first. */
  ofCallInEra(callKey: string, entity: string, era: number): readonly PooledEntry[];
  /** All entries of one tool, newest first. */
  ofTool(tool: string): readonly PooledEntry[];
  /** All entries whose answer says something of the entity, newest first. */
  about(entity: string): readonly PooledEntry[];
  /** A tape's entries whose answer says something of the entity, in order. */
  aboutOn(tapeId: string, entity: string): readonly PooledEntry[];
  /** Whether any call of the tenant showed this value, under whatever name. */
  shows(value: string | number): boolean;
  /** Whether any successful call of the tenant showed this value under this name. */
  knowsKey(name: string, value: unknown): boolean;
  /** How calls ended whose value at this key path the agent had come up with itself. */
  unheard(tool: string, path: string): { succeeded: number; failed: number };
  /** Whether any successful call of the tenant touched this entity. */
  knowsEntity(entity: string): boolean;
}

export interface TapePoolOptions {
  profiles: ToolProfiles;
  split: Tape["split"];
  /** Tapes of the split that answer only the scenario that they were recorded in: those in quarantine. Default: none. */
  ownOnly?: (tape: Tape) => boolean;
  /** Tapes of the tenant that answer nothing: of other agents, or untrainable. Default: none. */
  others?: readonly Tape[];
}

/**
 * Indexes tapes (with eras) for replay. Only tapes of `split` answer; those of the other split, and `others`, lend nothing but which keys exist and how
 * many writes there were: without that, a key that only they know would be declared an invention of the agent, and what they changed go unnoticed.
 * @throws NightshiftError `replay_tenants_mixed`
 */
export function createTapePool(tapes: readonly Tape[], options: TapePoolOptions): TapePool {
  const { split, ownOnly = () => false, others = [] } = options;
  const tenants = [...new Set([...tapes, ...others].map((tape) => tape.tenant))];
  if (tenants.length > 1) throw nightshiftError("replay_tenants_mixed", { tenants: tenants.join(", ") });
  const templates = templatesOf(options.profiles);
  const eras = createEraIndex([...tapes, ...others]);
  const all = tapes.flatMap((tape) => {
    const epochs = epochsOf(tape, eras);
    return tape.entries.map((entry, index) => pooled({ tape, entry, index, ...(epochs[index] ?? { epochs: {}, until: {} }) }, templates));
  });
  const ofSplit = all.filter(({ tape }) => tape.split === split);
  const newestFirst = ofSplit.filter(({ tape }) => !ownOnly(tape)).sort(byAge);
  const byTape = Map.groupBy(ofSplit, ({ tape }) => tape.id);
  const byTapeCall = Map.groupBy(ofSplit, ({ tape, entry }) => `${tape.id}|${entry.callKey}`);
  const byCall = Map.groupBy(newestFirst, ({ entry }) => entry.callKey);
  const byCallEra = groupByEach(newestFirst, ({ entry, args }) => {
    const [entity] = entitiesOfCall(profileOf(options.profiles, entry.tool), args);
    const era = entity === undefined ? undefined : entry.entityEra[entity];
    return era === undefined ? [] : [`${entry.callKey}|${era}|${entity}`];
  });
  const byTool = Map.groupBy(newestFirst, ({ entry }) => entry.tool);
  const byEntity = groupByEach(newestFirst, ({ views }) => [...views.keys()]);
  const byTapeEntity = groupByEach(ofSplit, ({ tape, views }) => [...views.keys()].map((entity) => `${tape.id}|${entity}`));
  const unheard = unheardCalls(ofSplit);
  const known = knownKeys([...all, ...others.flatMap((tape) => tape.entries.map((entry) => ({ entry, ...parsedOf(entry) })))]);
  return {
    profiles: options.profiles,
    templates,
    eras,
    ofTape: (tapeId) => byTape.get(tapeId) ?? [],
    ofTapeCall: (tapeId, callKey) => byTapeCall.get(`${tapeId}|${callKey}`) ?? [],
    ofCall: (callKey) => byCall.get(callKey) ?? [],
    ofCallInEra: (callKey, entity, era) => byCallEra.get(`${callKey}|${era}|${entity}`) ?? [],
    ofTool: (tool) => byTool.get(tool) ?? [],
    about: (entity) => byEntity.get(entity) ?? [],
    aboutOn: (tapeId, entity) => byTapeEntity.get(`${tapeId}|${entity}`) ?? [],
    shows: (value) => known.all.has(String(value)),
    knowsKey: (name, value) => known.values.get(name)?.has(String(value)) ?? false,
    unheard: (tool, path) => unheard.get(`${tool}|${path}`) ?? { succeeded: 0, failed: 0 },
    knowsEntity: (entity) => known.entities.has(entity),
  };
}

function pooled(recorded: Pick<PooledEntry, "tape" | "index" | "entry" | "epochs" | "until">, templates: readonly string[]): PooledEntry {
  const { args, parsed } = parsedOf(recorded.entry);
  return { ...recorded, args, parsed, views: viewsOf(parsed, templates) };
}

function parsedOf({ argumentsCanonical, result }: TapeEntry): { args: unknown; parsed: unknown } {
  return { args: parseResult(argumentsCanonical), parsed: parseResult(result) };
}

/** Newest first; ties by tape and place, so that the order never depends on how the tapes were read. */
function byAge(a: PooledEntry, b: PooledEntry): number {
  const age = b.entry.startedAtMs - a.entry.startedAtMs;
  if (age !== 0) return age;
  return a.tape.id === b.tape.id ? b.index - a.index : a.tape.id < b.tape.id ? -1 : 1;
}

function groupByEach(entries: readonly PooledEntry[], keysOf: (entry: PooledEntry) => readonly string[]): Map<string, PooledEntry[]> {
  const groups = new Map<string, PooledEntry[]>();
  for (const entry of entries) {
    for (const key of keysOf(entry)) {
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [entry]);
      else group.push(entry);
    }
  }
  return groups;
}

function unheardCalls(entries: readonly PooledEntry[]): ReadonlyMap<string, { succeeded: number; failed: number }> {
  const counts = new Map<string, { succeeded: number; failed: number }>();
  for (const { entry } of entries) {
    for (const path of entry.unheard) {
      const key = `${entry.tool}|${path}`;
      const { succeeded, failed } = counts.get(key) ?? { succeeded: 0, failed: 0 };
      counts.set(key, entry.isError ? { succeeded, failed: failed + 1 } : { succeeded: succeeded + 1, failed });
    }
  }
  return counts;
}

function knownKeys(all: readonly Pick<PooledEntry, "entry" | "args" | "parsed">[]): {
  values: Map<string, Set<string>>;
  entities: Set<string>;
  all: Set<string>;
} {
  const values = new Map<string, Set<string>>();
  const shown = new Set<string>();
  const entities = new Set<string>();
  const collect = (node: unknown, depth: number): void => {
    if (node === null || typeof node !== "object" || depth > 16) return;
    for (const [name, value] of Object.entries(node)) {
      if (isScalar(value)) shown.add(String(value));
      if (!isScalar(value)) collect(value, depth + 1);
      else if (!values.get(name)?.add(String(value))) values.set(name, new Set([String(value)]));
    }
  };
  for (const { entry, args, parsed } of all) {
    if (entry.isError) continue;
    collect(args, 0);
    collect(parsed, 0);
    for (const entity of entry.entitiesTouched) entities.add(entity);
  }
  return { values, entities, all: shown };
}

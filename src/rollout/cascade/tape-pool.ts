import { nightshiftError } from "../../errors.ts";
import { canonicalJson, withoutPaths } from "../../trajectory/canonical-arguments.ts";
import { createEraIndex, type EraIndex } from "../../trajectory/era.ts";
import { epochsOf } from "./epochs.ts";
import { entitiesOfCall, templatesOf, viewsOf, type EntityView, type Owners } from "../../trajectory/entities.ts";
import { parseResult } from "../../trajectory/record-tape.ts";
import type { Tape, TapeEntry } from "../../trajectory/tape.ts";
import { profileOf, type ToolProfile, type ToolProfiles } from "../../trajectory/tool-profile.ts";
import { learnOwners } from "../../trajectory/view-owners.ts";
import { crowds, fixedLengths, knownKeys, unheardCalls, valuesByEntity } from "./pool-values.ts";

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
  /** Whose fields those of an object are that names several things. */
  owners: Owners;
  eras: EraIndex;
  /** Entries of one tape, in order. */
  ofTape(tapeId: string): readonly PooledEntry[];
  /** The same of any tape of the tenant, whatever its split: for what is counted of tools, as profiles are; never for an answer. */
  counted(tapeId: string): readonly PooledEntry[];
  /** The same of one tool, newest first. */
  countedOf(tool: string): readonly PooledEntry[];
  /** What an entry answers, without what differs from call to call, as canonical JSON. */
  said(seen: PooledEntry): string;
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
  /** Every value that any tape of either split shows of the entity, as text: for what is counted of tools, never for an answer. */
  shownOf(entity: string): ReadonlySet<string>;
  /** Whether any call of the tenant showed this value, under whatever name. */
  shows(value: string | number): boolean;
  /** Whether so many values of this id's shape were shown that a drawn one may well be somebody's whom no tape shows. */
  isCrowded(id: string | number): boolean;
  /** The length that ids of this name and beginning were made to have, as far as tapes show; null where none is known. */
  idLength(name: string, id: string | number): number | null;
  /** Whether any successful call of the tenant showed this value under this name. */
  knowsKey(name: string, value: unknown): boolean;
  /** In how many conversations calls ended so whose value at this key path the agent had come up with itself. */
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
 * Indexes tapes (with eras) for replay. Only tapes of `split` answer; those of the other split, and `others`, lend nothing but which keys exist, how often made-up
 * ones failed, and how many writes there were: without that, a key that only they know would be declared an invention of the agent, and what they changed go unnoticed.
 * @throws NightshiftError `replay_tenants_mixed`
 */
export function createTapePool(tapes: readonly Tape[], options: TapePoolOptions): TapePool {
  const { split, ownOnly = () => false, others = [] } = options;
  const tenants = [...new Set([...tapes, ...others].map((tape) => tape.tenant))];
  if (tenants.length > 1) throw nightshiftError("replay_tenants_mixed", { tenants: tenants.join(", ") });
  const templates = templatesOf(options.profiles);
  const eras = createEraIndex([...tapes, ...others]);
  const { all, owners } = entriesOf(tapes, { profiles: options.profiles, templates, eras });
  const ofSplit = all.filter(({ tape }) => tape.split === split);
  const newestFirst = ofSplit.filter(({ tape }) => !ownOnly(tape)).sort(byAge);
  const byTape = Map.groupBy(ofSplit, ({ tape }) => tape.id);
  const everyTape = Map.groupBy(all, ({ tape }) => tape.id);
  const everyTool = Map.groupBy(all.toSorted(byAge), ({ entry }) => entry.tool);
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
  const valuesShown = valuesByEntity(all);
  const unheard = unheardCalls([...tapes, ...others]);
  const known = knownKeys([...all, ...others.flatMap((tape) => tape.entries.map((entry) => ({ entry, ...parsedOf(entry) })))]);
  return {
    profiles: options.profiles,
    templates,
    owners,
    eras,
    ofTape: (tapeId) => byTape.get(tapeId) ?? [],
    counted: (tapeId) => everyTape.get(tapeId) ?? [],
    countedOf: (tool) => everyTool.get(tool) ?? [],
    said: saidBy(options.profiles),
    ofTapeCall: (tapeId, callKey) => byTapeCall.get(`${tapeId}|${callKey}`) ?? [],
    ofCall: (callKey) => byCall.get(callKey) ?? [],
    ofCallInEra: (callKey, entity, era) => byCallEra.get(`${callKey}|${era}|${entity}`) ?? [],
    ofTool: (tool) => byTool.get(tool) ?? [],
    about: (entity) => byEntity.get(entity) ?? [],
    aboutOn: (tapeId, entity) => byTapeEntity.get(`${tapeId}|${entity}`) ?? [],
    shownOf: (entity) => valuesShown.get(entity) ?? NONE,
    shows: (value) => known.all.has(String(value)),
    isCrowded: crowds(known.all),
    idLength: fixedLengths(known.values),
    knowsKey: (name, value) => known.values.get(name)?.has(String(value)) ?? false,
    unheard: (tool, path) => unheard.get(`${tool}|${path}`) ?? { succeeded: 0, failed: 0 },
    knowsEntity: (entity) => known.entities.has(entity),
  };
}

/** All entries, each read once. */
function entriesOf(
  tapes: readonly Tape[],
  { profiles, templates, eras }: Pick<TapePool, "profiles" | "templates" | "eras">,
): { all: readonly PooledEntry[]; owners: Owners } {
  const read = tapes.map((tape) => ({ tape, answers: tape.entries.map(parsedOf) }));
  const owners = learnOwners(
    profiles,
    read.flatMap(({ tape, answers }) => tape.entries.map(({ tool, isError }, index) => ({ tool, isError, ...(answers[index] as Parsed) }))),
  );
  const all = read.flatMap(({ tape, answers }) => {
    const views = answers.map(({ parsed }) => viewsOf(parsed, templates, owners));
    const steady = views.map((shown, index) => steadyOf(shown, profileOf(profiles, tape.entries[index]?.tool ?? "")));
    const epochs = epochsOf(tape, eras, steady);
    return tape.entries.map((entry, index): PooledEntry => {
      const { args, parsed } = answers[index] as Parsed;
      return { tape, entry, index, ...(epochs[index] ?? { epochs: {}, until: {} }), args, parsed, views: views[index] ?? new Map() };
    });
  });
  return { all, owners };
}

/** What an answer shows of entities, without the error and what differs from call to call. */
function steadyOf(
  views: ReadonlyMap<string, EntityView>,
  { volatileResultPaths, errorPath }: ToolProfile,
): ReadonlyMap<string, EntityView> {
  const left = new Set([errorPath, ...volatileResultPaths].map((path) => path.split(".").at(-1) ?? path));
  return new Map([...views].map(([entity, view]) => [entity, new Map([...view].filter(([field]) => !left.has(field)))]));
}

type Parsed = Pick<PooledEntry, "args" | "parsed">;

function parsedOf({ argumentsCanonical, result }: TapeEntry): Parsed {
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

const NONE: ReadonlySet<string> = new Set();

/** What entries say, each worked out when it is first asked for. */
function saidBy(profiles: ToolProfiles): TapePool["said"] {
  const known = new Map<PooledEntry, string>();
  return (seen) => {
    const text = known.get(seen) ?? canonicalJson(withoutPaths(seen.parsed, profileOf(profiles, seen.entry.tool).volatileResultPaths));
    known.set(seen, text);
    return text;
  };
}

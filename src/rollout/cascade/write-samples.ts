import { valueAtPath } from "../../trajectory/canonical-arguments.ts";
import { EVERYTHING, entitiesOfCall, entityByPath, type EntityView, type Scalar } from "../../trajectory/entities.ts";
import { mayWrite, profileOf, type ToolProfile } from "../../trajectory/tool-profile.ts";
import { prefixOf } from "../../trajectory/write-state.ts";
import { errorKind } from "./agent-error.ts";
import { argumentFeatures, decidingArguments, featuresOf, wasFound, type Known } from "./features.ts";
import { sameTool, type PreparedCall } from "./prepare.ts";
import { chanceOf, learnRefusals, MAX_CHANCE_FIXED, type Features, type Refusal } from "./refusals.ts";
import { knownView, mergedViews, stillTrue, type Situation } from "./situation.ts";
import type { PooledEntry, TapePool } from "./tape-pool.ts";

/** One recorded write. */
export interface Sample {
  seen: PooledEntry;
  /** In which way it was refused; null for a success. */
  kind: string | null;
  features: Features;
  views: Known["views"];
}

/** What the tapes teach about one write tool. Errors for the agent's own mistakes are left out: those are decided before. */
export interface WriteModel {
  samples: number;
  /** Conversations that these are of. */
  conversations: number;
  /** Newest first, as many of each outcome as are compared when the nearest is looked for. */
  examples: { succeeded: readonly Sample[]; failed: readonly Sample[] };
  byCall: ReadonlyMap<string, readonly Sample[]>;
  errorRate: number;
  /** Ways of refusing that a single conversation shows: as likely is one that none shows yet. */
  rareRefusals: number;
  /** Where most of the tool's calls are on tapes that do not answer here: the share of errors that these alone had, for reasons unknown. */
  unseenRate: number;
  refusals: readonly Refusal[];
  /** Counted on tapes of either split. */
  forms: Forms;
  basis: FeatureBasis;
  /** What the tapes say of this tool was measured to be wrong too often: nothing decides but how rarely it fails (R5). */
  undecided?: boolean;
}

/** What features are made of, beside the tapes. */
export interface FeatureBasis {
  /** Arguments. */
  names: readonly string[];
  /** Write tools that take away what they write (ends.ts). */
  ends: ReadonlySet<string>;
}

/** What is counted of a tool's calls on tapes of either split, of which nothing is served. */
export interface Forms {
  /** Conversations that are counted. */
  conversations: number;
  /** Arguments that were given, whatever their values, whenever something was refused that was there, oftener than chance explains. */
  blamed: ReadonlySet<string>;
  /** Successes, newest first: whether they say the same. */
  examples: readonly Sample[];
  /** Facts that all successes share, of those that two conversations know. */
  shared: Features;
}

const MAX_EXAMPLES = 50;
const MAX_KIND = 200;

/** Learns a write tool's outcomes from the pool. */
export function learnWrites(pool: TapePool, call: Pick<PreparedCall, "tool" | "schema">, ends: ReadonlySet<string>): WriteModel {
  const profile = profileOf(pool.profiles, call.tool);
  const all = pool.ofTool(call.tool).filter(({ entry }) => sameTool(call, entry));
  const seen = all.filter((entry) => !entry.entry.isError || errorKind(pool, call, entry) === null);
  const names = decidingArguments(
    profile,
    seen.map(({ args }) => args),
  );
  const basis = { names, ends };
  const samples = seen.map((entry) => sampleOf(pool, entry, basis));
  const failed = samples.filter(({ kind }) => kind !== null);
  const succeeded = samples.filter(({ kind }) => kind === null);
  const known = new Map(samples.map((sample) => [sample.seen, sample]));
  const counted = pool
    .countedOf(call.tool)
    .filter((other) => sameTool(call, other.entry) && (!other.entry.isError || errorKind(pool, call, other) === null))
    .map((other) => known.get(other) ?? sampleOf(pool, other, basis));
  const independent = withoutRepeats(samples);
  const elsewhere = Math.max(0, profile.errors - all.filter(({ entry }) => entry.isError).length);
  const unseenRate = all.length * 2 < profile.calls ? elsewhere / profile.calls : 0;
  return {
    samples: samples.length,
    conversations: conversationsOf(samples),
    examples: { succeeded: succeeded.slice(0, MAX_EXAMPLES), failed: failed.slice(0, MAX_EXAMPLES) },
    byCall: Map.groupBy(samples, (sample) => sample.seen.entry.callKey),
    errorRate: samples.length === 0 ? 0 : failed.length / samples.length,
    rareRefusals: [...Map.groupBy(failed, ({ kind }) => kind).values()].filter((alike) => conversationsOf(alike) === 1).length,
    unseenRate,
    refusals: learnRefusals(independent, names.flatMap(argumentFeatures)),
    forms: formsOf(profile, withoutRepeats(counted)),
    basis,
  };
}

/** Without what a conversation tried again in the state in which it had ended so before: that is no further observation. */
function withoutRepeats(samples: readonly Sample[]): readonly Sample[] {
  const distinct = new Map<string, Sample>();
  for (const sample of samples) {
    const { tape, entry } = sample.seen;
    const key = JSON.stringify([tape.conversationId, entry.callKey, sample.kind, Object.entries(entry.entityVersion), entry.entityEra]);
    if (!distinct.has(key)) distinct.set(key, sample);
  }
  return [...distinct.values()];
}

function conversationsOf(samples: readonly Sample[]): number {
  return new Set(samples.map(({ seen }) => seen.tape.conversationId)).size;
}

/** Ways of refusing what a look had missed that never refused what one had found: where nobody looked, they say that it is not there. */
function kindsOfMissing(samples: readonly Sample[]): ReadonlySet<string> {
  const kindsWhere = (isFound: boolean): readonly string[] =>
    samples.flatMap(({ kind, features }) => (kind !== null && wasFound(features) === isFound ? [kind] : []));
  const ofFound = new Set(kindsWhere(true));
  return new Set(kindsWhere(false).filter((kind) => !ofFound.has(kind)));
}

function formsOf(profile: ToolProfile, samples: readonly Sample[]): Forms {
  const there = samples.filter(({ features }) => wasFound(features) !== false);
  const granted = there.filter(({ kind }) => kind === null);
  const isOfMissing = kindsOfMissing(samples);
  const refused = there.filter(({ kind }) => kind !== null && !isOfMissing.has(kind));
  const has =
    (name: string) =>
    ({ seen }: Sample): boolean =>
      decidingArguments(profile, [seen.args]).includes(name);
  const isBlamed = (name: string): boolean =>
    refused.length > 0 &&
    refused.every(has(name)) &&
    chanceOf(refused.length, refused.length + granted.filter(has(name)).length, refused.length + granted.length) <= MAX_CHANCE_FIXED;
  const names = decidingArguments(
    profile,
    refused.slice(0, 1).map(({ seen }) => seen.args),
  );
  const succeeded = samples.filter(({ kind }) => kind === null);
  return {
    conversations: conversationsOf(samples),
    blamed: new Set(names.filter(isBlamed)),
    examples: succeeded.slice(0, MAX_EXAMPLES),
    shared: sharedBy(succeeded),
  };
}

/** Conversations that must know a fact before it is one that successes share. */
const MIN_SHARING = 2;

function sharedBy(successes: readonly Sample[]): Features {
  const facts = new Map<string, { value: Scalar; conversations: Set<string> } | null>();
  for (const { seen, features } of successes) {
    for (const [name, value] of features) {
      const known = facts.get(name);
      if (known === undefined) facts.set(name, { value, conversations: new Set([seen.tape.conversationId]) });
      else if (known?.value === value) known.conversations.add(seen.tape.conversationId);
      else facts.set(name, null);
    }
  }
  return new Map(
    [...facts].flatMap(([name, fact]) => (fact !== null && fact.conversations.size >= MIN_SHARING ? [[name, fact.value]] : [])),
  );
}

/** What is known of a call's entities in this situation, in the tool's order. */
export function seenNow(
  situation: Situation,
  call: PreparedCall,
  { names, ends }: FeatureBasis,
): { views: readonly (EntityView | null)[]; features: Features } {
  const entities = entityByPath(call.profile, call.args);
  const { writes } = situation.overlay;
  const known = entities.map((entity): KnownThing => {
    if (entity === null) return nothing;
    const last = writes.findLast((write) => write.entities.includes(entity));
    if (last !== undefined && ends.has(last.tool)) return gone;
    const view = knownView(situation, entity);
    return { view, fresh: freshView(situation, entity), isFound: isFoundNow(situation, entity, view) };
  });
  const again = writes.some((write) => write.tool === call.tool && touchesAny(write.entities, entities));
  return { views: known.map(({ view }) => view), features: featuresOf(knownOf(call.args, again, known), names) };
}

interface KnownThing {
  view: EntityView | null;
  fresh: EntityView | null;
  isFound: boolean | null;
}

const nothing: KnownThing = { view: null, fresh: null, isFound: null };
const gone: KnownThing = { view: null, fresh: null, isFound: false };

function knownOf(args: unknown, again: boolean, things: readonly KnownThing[]): Known {
  const views = things.map(({ view }) => view);
  return { args, again, views, fresh: things.map(({ fresh }) => fresh), found: things.map(({ isFound }) => isFound) };
}

function sampleOf(pool: TapePool, seen: PooledEntry, { names, ends }: FeatureBasis): Sample {
  const before = pool.counted(seen.tape.id).slice(0, seen.index);
  const entities = entityByPath(profileOf(pool.profiles, seen.entry.tool), seen.args);
  const known = entities.map((entity): KnownThing => {
    if (entity === null) return nothing;
    const last = before.findLast(({ entry }) => entry.writeKey !== null && entry.entitiesTouched.includes(entity));
    if (last !== undefined && ends.has(last.entry.tool)) return gone;
    const view = viewBefore(before, seen, entity);
    // Since the last write to anything but it.
    const elsewhere = before.findLastIndex(({ entry }) => entry.writeKey !== null && !entry.entitiesTouched.includes(entity));
    const isMissed = (other: PooledEntry): boolean => isSearchFor(pool, other, entity) && other.epochs[entity] === seen.epochs[entity];
    const isFound = view !== null ? true : before.some(isMissed) ? false : null;
    return { view, fresh: viewBefore(before.slice(elsewhere + 1), seen, entity), isFound };
  });
  const again = before.some(
    ({ entry }) => entry.tool === seen.entry.tool && entry.writeKey !== null && touchesAny(entry.entitiesTouched, entities),
  );
  const kind = seen.entry.isError ? kindOf(pool, seen) : null;
  return { seen, kind, features: featuresOf(knownOf(seen.args, again, known), names), views: known.map(({ view }) => view) };
}

/** What the tape had shown of the entity by then, its own writes included; nothing that others changed since, nor what was before a write that said nothing of it. */
function viewBefore(before: readonly PooledEntry[], seen: PooledEntry, entity: string): EntityView | null {
  const isSilent = ({ entry, views }: PooledEntry): boolean => {
    const { entitiesTouched } = entry;
    return entry.writeKey !== null && !views.has(entity) && (entitiesTouched.includes(entity) || entitiesTouched.includes(EVERYTHING));
  };
  const about = before
    .slice(before.findLastIndex(isSilent) + 1)
    .filter(({ views, entry, epochs }) => views.has(entity) && !entry.isError && epochs[entity] === seen.epochs[entity]);
  return about.length === 0 ? null : mergedViews(about.map(({ views }) => views.get(entity)));
}

/** What the own tape showed of the entity after the rollout's last write to anything else, and what its writes said of it since. */
function freshView({ pool, start, overlay }: Situation, entity: string): EntityView | null {
  const { writes } = overlay;
  const since = writes.findLastIndex(({ entities }) => !entities.includes(entity)) + 1;
  const looks = pool
    .aboutOn(start.tapeId, entity)
    .filter(({ entry, epochs }) => !entry.isError && entry.writeKey === null && (epochs[entity] ?? 0) >= (overlay.seen.get(entity) ?? 0));
  for (let count = writes.length; count >= since; count -= 1) {
    const prefix = prefixOf(writes.slice(0, count));
    const then = looks.filter(({ entry }) => entry.writePrefix === prefix);
    // What others changed after that, the rollout was not shown.
    const epoch = Math.min(...then.map(({ epochs }) => epochs[entity] ?? 0));
    const look = then.findLast(({ epochs }) => (epochs[entity] ?? 0) === epoch);
    if (look !== undefined && writes.slice(count).every(({ views }) => views.has(entity)))
      return mergedViews([look.views.get(entity), ...writes.slice(count).map(({ views }) => views.get(entity))]);
  }
  return null;
}

/** By the own tape's looks, where there are any: an error that names the entity shows something of it, and no other tape knows better. */
function isFoundNow(situation: Situation, entity: string, view: EntityView | null): boolean | null {
  const { pool, start } = situation;
  const isShown = pool.aboutOn(start.tapeId, entity).some((seen) => isLook(seen) && stillTrue(situation, seen));
  const isMissed = pool.ofTape(start.tapeId).some((seen) => isSearchFor(pool, seen, entity) && stillTrue(situation, seen));
  if (isMissed && !isShown) return false;
  return view === null ? null : true;
}

/** What showed something, and made nothing: a create's own answer is of after it. */
function isLook({ entry }: PooledEntry): boolean {
  return !entry.isError && entry.writeKey === null;
}

/** A look at the entity that failed. */
function isSearchFor(pool: TapePool, { entry, args }: PooledEntry, entity: string): boolean {
  const profile = profileOf(pool.profiles, entry.tool);
  return entry.isError && !mayWrite(profile) && entitiesOfCall(profile, args).includes(entity);
}

/** The words of a refusal, without those that are values: "open does not go to done" is one kind, whatever the states. */
function kindOf(pool: TapePool, { entry, parsed }: PooledEntry): string {
  const said = valueAtPath(parsed, profileOf(pool.profiles, entry.tool).errorPath) ?? parsed;
  const text = typeof said === "string" ? said : (JSON.stringify(said) ?? "");
  return text.slice(0, MAX_KIND).replace(/[\p{L}\p{N}_.@-]+/gu, (word) => (/\d/.test(word) || pool.shows(word) ? "…" : word));
}

function touchesAny(written: readonly string[], named: readonly (string | null)[]): boolean {
  return written.some((entity) => entity !== EVERYTHING && named.includes(entity));
}

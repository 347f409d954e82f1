import { canonicalJson, withoutPaths } from "../canonical-arguments.ts";
import { EVERYTHING, entitiesOfCall } from "../entities.ts";
import { parseResult } from "../record-tape.ts";
import type { Tape, TapeEntry } from "../tape.ts";
import { isStateless, mayWrite, profileOf, type ToolFact, type ToolProfile, type ToolProfiles } from "../tool-profile.ts";
import { eachLeaf } from "./leaves.ts";
import { nearlySameEra, sameEra } from "./same-world.ts";

/** A read counts as a hidden write when other answers changed around it at least this often, and three times as often as without it. */
const MIN_CHANGED_SHARE = 0.3;
/** A read depends on everything where its answer changed by writes to other entities in so many conversations, and in more than this share of them. */
const MIN_CHANGED_IN = 2;
const MAX_ODD_SHARE = 0.05;
/** Repeats around one tool alone before it can be acquitted. */
const MIN_ALONE = 5;

/** Result paths by tool that are left out of a comparison: noise in an answer would hide what changes it. */
export type Noise = ReadonlyMap<string, readonly string[]>;

interface Counts {
  pairs: number;
  changed: number;
  /** Those of `changed` whose later answer was no error: a call that fails the second time ("already done") may have done it itself. */
  plain: number;
}

interface Apart extends Counts {
  fields: Set<string>;
  conversations: Set<string>;
  changedIn: Set<string>;
}

/** How often the same call in the same recorded state was repeated, and how often its answer had changed. */
interface Repeats {
  /** With one tool in between that was called about the same entity, by that tool. */
  around: Map<string, Counts>;
  all: Counts;
  /** With several tools in between: whom, and what became of it. */
  crowded: { suspects: ReadonlySet<string>; read: TapeEntry; changed: boolean }[];
  /** Reads repeated although no entity of theirs was written, in which conversations, and which fields of their answers changed by it. */
  apart: Map<string, Apart>;
}

/** What is compared, and when two calls count as made in one state. */
interface Comparison {
  /** Profiles as declared: what was learned of entities must not narrow what a call is suspected of. */
  declared: ToolProfiles;
  profiles: ToolProfiles;
  noise: Noise;
  isSameEra: typeof sameEra;
}

/** What the tapes force on one tool, and why. */
export interface Demotion {
  tool: string;
  change: Pick<ToolProfile, "cls" | "evidence"> | Pick<ToolProfile, "scope">;
  fact: ToolFact;
}

/**
 * What the tapes force; empty when they force nothing. A hidden write is looked for in whole answers, in answers without noise,
 * and by the eras of named entities alone: any of them suffices. A read is widened by whole answers only, so that nothing learned undoes it.
 */
export function demotions(declared: ToolProfiles, profiles: ToolProfiles, tapes: readonly Tape[], noise: Noise): readonly Demotion[] {
  const quiet: Noise[] = [new Map(), ...(noise.size === 0 ? [] : [noise])];
  const hasLearned = [...profiles.values()].some(({ tool, entityPaths }) => entityPaths !== profileOf(declared, tool).entityPaths);
  const eras = [sameEra, ...(hasLearned ? [nearlySameEra] : [])];
  const [whole, ...others] = eras.flatMap((isSameEra) =>
    quiet.map((left) => repeatsOf({ declared, profiles, noise: left, isSameEra }, tapes)),
  );
  for (const repeats of [whole, ...others]) {
    const hidden = repeats === undefined ? null : hiddenWrite(profiles, repeats);
    if (hidden !== null) return [hidden];
  }
  return [...profiles.values()]
    .filter(({ tool, scope }) => scope === "entities" && isWide(whole?.apart.get(tool)))
    .map(({ tool }) => ({ tool, change: { scope: "everything" }, fact: widenedFact(tool, whole) }));
}

/** One conversation's change may be anybody's whom nobody recorded, and so may a few of many. */
function isWide(apart: Apart | undefined): boolean {
  if (apart === undefined) return false;
  const changed = apart.changedIn.size;
  return changed >= MIN_CHANGED_IN && changed > MAX_ODD_SHARE * apart.conversations.size;
}

/** The profiles with these demotions. */
export function withDemotions(profiles: ToolProfiles, found: readonly Demotion[]): ToolProfiles {
  return found.reduce((all, { tool, change, fact }) => {
    const profile = profileOf(all, tool);
    return new Map([...all, [tool, { ...profile, ...change, facts: [...profile.facts, fact] }]]);
  }, profiles);
}

/**
 * How often reads were repeated with writes to other entities in between, and how often their answer had changed: what speaks for and against a read
 * that depends on its entities alone. `profiles` and tapes as they would be if all learned entities were.
 */
export function repeatsApart(profiles: ToolProfiles, tapes: readonly Tape[]): ReadonlyMap<string, { pairs: number; changed: number }> {
  return repeatsOf({ declared: profiles, profiles, noise: new Map(), isSameEra: sameEra }, tapes).apart;
}

function repeatsOf(comparison: Comparison, tapes: readonly Tape[]): Repeats {
  const repeats: Repeats = { around: new Map(), all: { pairs: 0, changed: 0, plain: 0 }, crowded: [], apart: new Map() };
  for (const tape of tapes) countRepeats(comparison, tape, repeats);
  blameRest(repeats);
  return repeats;
}

/** Where all others in between are acquitted by what happened, or did not, around them alone, the one that is left is to blame. */
function blameRest(repeats: Repeats): void {
  const acquitted = new Set(
    [...repeats.around].flatMap(([tool, counts]) => (counts.pairs >= MIN_ALONE && !isHiddenWrite(counts, repeats.all) ? [tool] : [])),
  );
  for (const { suspects, read, changed } of repeats.crowded) {
    const [suspect, ...others] = [...suspects].filter((tool) => !acquitted.has(tool));
    if (suspect !== undefined && others.length === 0) countAround(repeats, suspect, read, changed);
  }
}

/** One hidden write a round, the plainest: what it changed makes innocent tools look guilty until it is known. */
function hiddenWrite(profiles: ToolProfiles, repeats: Repeats): Demotion | null {
  const suspects = [...repeats.around].filter(
    ([tool, counts]) => !mayWrite(profileOf(profiles, tool)) && isHiddenWrite(counts, repeats.all),
  );
  const [plainest] = suspects.sort(([one, a], [other, b]) => b.plain - a.plain || b.changed - a.changed || (one < other ? -1 : 1));
  if (plainest === undefined) return null;
  const [tool, counts] = plainest;
  const evidence = { for: counts.changed, against: counts.pairs - counts.changed, note: "answers of other reads changed around it" };
  return {
    tool,
    change: { cls: "write", evidence: "demoted" },
    fact: { about: "class", value: "write", from: "demoted", used: true, ...evidence },
  };
}

function widenedFact(tool: string, repeats: Repeats | undefined): ToolFact {
  const counts = repeats?.apart.get(tool);
  const fields = [...(counts?.fields ?? [])].sort().slice(0, 5).join(", ");
  return {
    ...{ about: "scope", value: "everything", from: "demoted", used: true },
    ...{ for: counts?.changed ?? 0, against: (counts?.pairs ?? 0) - (counts?.changed ?? 0) },
    note: `its answer changed by writes to other entities${fields === "" ? "" : `: ${fields}`}`,
  };
}

function isHiddenWrite(around: Counts, all: Counts): boolean {
  const background = share({ pairs: all.pairs - around.pairs, changed: all.changed - around.changed });
  // Three times a background above a third cannot be reached: half way from it to always will do.
  const enough = Math.max(MIN_CHANGED_SHARE, Math.min(3 * background, (1 + background) / 2));
  return share(around) > background && share(around) >= enough;
}

function share({ pairs, changed }: Pick<Counts, "pairs" | "changed">): number {
  return pairs === 0 ? 0 : changed / pairs;
}

function countRepeats(comparison: Comparison, { entries, conversationId }: Tape, repeats: Repeats): void {
  const { profiles } = comparison;
  const last = new Map<string, number>();
  for (const [index, entry] of entries.entries()) {
    const profile = profileOf(profiles, entry.tool);
    if (mayWrite(profile) || isStateless(profile)) continue;
    const earlierIndex = last.get(entry.callKey);
    last.set(entry.callKey, index);
    const earlier = earlierIndex === undefined ? undefined : entries[earlierIndex];
    if (earlier === undefined || earlierIndex === undefined || !comparison.isSameEra(earlier, entry)) continue;
    const changed = comparable(comparison, profile, earlier) !== comparable(comparison, profile, entry);
    if (earlier.writePrefix !== entry.writePrefix) {
      countApart({ earlier, later: entry, conversationId }, changed, repeats);
      continue;
    }
    countPair(comparison, entry, entries.slice(earlierIndex + 1, index), changed, repeats);
  }
}

function countPair(comparison: Comparison, read: TapeEntry, between: readonly TapeEntry[], changed: boolean, repeats: Repeats): void {
  const suspects = new Set(
    between.filter((entry) => !entry.isError && isAbout(comparison.declared, entry, read)).map((entry) => entry.tool),
  );
  count(repeats.all, read, changed);
  const [suspect] = suspects;
  if (suspect === undefined) return;
  if (suspects.size === 1) countAround(repeats, suspect, read, changed);
  else repeats.crowded.push({ suspects, read, changed });
}

function countAround(repeats: Repeats, suspect: string, read: TapeEntry, changed: boolean): void {
  const around = repeats.around.get(suspect) ?? { pairs: 0, changed: 0, plain: 0 };
  count(around, read, changed);
  repeats.around.set(suspect, around);
}

/** A repeat after writes to other entities than the read's. */
function countApart(
  { earlier, later, conversationId }: { earlier: TapeEntry; later: TapeEntry; conversationId: string },
  changed: boolean,
  repeats: Repeats,
): void {
  if (!later.entitiesTouched.every((entity) => earlier.entityVersion[entity] === later.entityVersion[entity])) return;
  const counts = repeats.apart.get(later.tool) ?? noneApart();
  count(counts, later, changed);
  counts.conversations.add(conversationId);
  if (changed) counts.changedIn.add(conversationId);
  if (changed) for (const field of changedFields(earlier, later)) counts.fields.add(field);
  repeats.apart.set(later.tool, counts);
}

function noneApart(): Apart {
  return { pairs: 0, changed: 0, plain: 0, fields: new Set(), conversations: new Set(), changedIn: new Set() };
}

function changedFields(earlier: TapeEntry, later: TapeEntry): string[] {
  const before = new Map<string, string>();
  eachLeaf(parseResult(earlier.result), (path, value) => void before.set(path, String(value)));
  const changed = new Set<string>();
  eachLeaf(parseResult(later.result), (path, value) => {
    if (!path.includes("*") && before.get(path) !== String(value)) changed.add(path);
  });
  return [...changed].slice(0, 8);
}

function count(counts: Counts, later: TapeEntry, changed: boolean): void {
  counts.pairs += 1;
  counts.changed += changed ? 1 : 0;
  counts.plain += changed && !later.isError ? 1 : 0;
}

/** Whether a call was, by its arguments, about something that the read is about; a call about nothing in particular may be about anything. */
function isAbout(declared: ToolProfiles, entry: TapeEntry, read: TapeEntry): boolean {
  const profile = profileOf(declared, entry.tool);
  if (isStateless(profile)) return false;
  const named = entitiesOfCall(profile, parseResult(entry.argumentsCanonical)).filter((entity) => entity !== EVERYTHING);
  return named.length === 0 || named.some((entity) => read.entitiesTouched.includes(entity));
}

function comparable({ noise }: Comparison, profile: ToolProfile, entry: TapeEntry): string {
  const paths = [...profile.volatileResultPaths, ...(noise.get(entry.tool) ?? [])];
  return canonicalJson(withoutPaths(parseResult(entry.result), paths));
}

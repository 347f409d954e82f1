import { canonicalJson, withoutPaths } from "./canonical-arguments.ts";
import { isToolCall } from "../trace/message.ts";
import { EVERYTHING, entitiesOfCall } from "./entities.ts";
import { withEras } from "./era.ts";
import { parseResult, tapeOf } from "./record-tape.ts";
import type { Tape, TapeEntry } from "./tape.ts";
import { declaredProfile, isStateless, mayWrite, profileOf, type ToolConfig, type ToolProfile, type ToolProfiles } from "./tool-profile.ts";
import type { Trajectory } from "./trajectory.ts";

/** Every demotion shifts the recorded states, so it may uncover another one. */
const MAX_ROUNDS = 8;
/** A read counts as a hidden write when other answers changed around it at least this often, and three times as often as without it. */
const MIN_CHANGED_SHARE = 0.3;

/**
 * Profiles of all tools that the configuration or the trajectories name. Class, roles and entity paths are the operator's; error rate and latency are
 * counted. The tapes may only demote: a "read" around which other answers change becomes a write; a read whose answer was changed by a write to
 * another entity depends on everything. Deterministic; the order of the trajectories does not matter.
 */
export function learnProfiles(toolConfigs: Readonly<Record<string, ToolConfig>>, trajectories: readonly Trajectory[]): ToolProfiles {
  let profiles: ToolProfiles = declaredProfiles(toolConfigs, trajectories);
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const tapes = recorded(trajectories, profiles);
    const demoted = demote(profiles, tapes);
    if (demoted === null) return counted(profiles, tapes);
    profiles = demoted;
  }
  return counted(profiles, recorded(trajectories, profiles));
}

function declaredProfiles(configs: Readonly<Record<string, ToolConfig>>, trajectories: readonly Trajectory[]): ToolProfiles {
  const names = new Set(Object.keys(configs));
  for (const trajectory of trajectories) {
    for (const tool of trajectory.tools ?? []) names.add(tool.name);
    for (const message of trajectory.messages) for (const call of message.parts.filter(isToolCall)) names.add(call.name);
  }
  const configOf = (name: string): ToolConfig | undefined => (Object.hasOwn(configs, name) ? configs[name] : undefined);
  return new Map([...names].sort().map((name) => [name, declaredProfile(name, configOf(name))]));
}

/** The split does not matter here: profiles carry counts, no content. */
function recorded(trajectories: readonly Trajectory[], profiles: ToolProfiles): readonly Tape[] {
  return withEras(trajectories.map((trajectory) => tapeOf(trajectory, { profiles, split: "train" })));
}

function counted(profiles: ToolProfiles, tapes: readonly Tape[]): ToolProfiles {
  const byTool = Map.groupBy(
    tapes.flatMap((tape) => tape.entries),
    (entry) => entry.tool,
  );
  return new Map(
    [...profiles].map(([tool, profile]) => {
      const entries = byTool.get(tool) ?? [];
      const latencies = entries.map((entry) => entry.latencyMs).sort((a, b) => a - b);
      const errors = entries.filter((entry) => entry.isError).length;
      const latencyMs = { p50: quantile(latencies, 0.5), p95: quantile(latencies, 0.95), samples: latencies.length };
      return [tool, { ...profile, calls: entries.length, errors, latencyMs }];
    }),
  );
}

/** Nearest-rank quantile of ascending numbers; 0 of none. */
function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

interface Counts {
  pairs: number;
  changed: number;
  /** Those of `changed` whose later answer was no error: a call that fails the second time ("already done") may have done it itself. */
  plain: number;
}

/** How often the same call in the same recorded state was repeated, and how often its answer had changed. */
interface Repeats {
  /** With one tool in between that was called about the same entity, by that tool. */
  around: Map<string, Counts>;
  all: Counts;
  /** Reads whose answer changed although no entity of theirs was written. */
  leaky: Set<string>;
}

/** The profiles with what the tapes forced, or null when they forced nothing. */
function demote(profiles: ToolProfiles, tapes: readonly Tape[]): ToolProfiles | null {
  const repeats: Repeats = { around: new Map(), all: { pairs: 0, changed: 0, plain: 0 }, leaky: new Set() };
  for (const tape of tapes) countRepeats(profiles, tape.entries, repeats);
  // One hidden write a round, the plainest: what it changed makes innocent tools look guilty until it is known.
  const suspects = [...repeats.around].filter(
    ([tool, counts]) => !mayWrite(profileOf(profiles, tool)) && isHiddenWrite(counts, repeats.all),
  );
  const [plainest] = suspects.sort(([one, a], [other, b]) => b.plain - a.plain || b.changed - a.changed || (one < other ? -1 : 1));
  if (plainest !== undefined) return withChange(profiles, plainest[0], { cls: "write", evidence: "demoted" });
  const leaky = [...profiles.values()].filter(({ tool, scope }) => scope === "entities" && repeats.leaky.has(tool));
  return leaky.length === 0 ? null : leaky.reduce((all, { tool }) => withChange(all, tool, { scope: "everything" }), profiles);
}

function withChange(profiles: ToolProfiles, tool: string, change: Partial<ToolProfile>): ToolProfiles {
  return new Map([...profiles, [tool, { ...profileOf(profiles, tool), ...change }]]);
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

function countRepeats(profiles: ToolProfiles, entries: readonly TapeEntry[], repeats: Repeats): void {
  const last = new Map<string, number>();
  for (const [index, entry] of entries.entries()) {
    const profile = profileOf(profiles, entry.tool);
    if (mayWrite(profile) || isStateless(profile)) continue;
    const earlierIndex = last.get(entry.callKey);
    last.set(entry.callKey, index);
    const earlier = earlierIndex === undefined ? undefined : entries[earlierIndex];
    if (earlier === undefined || earlierIndex === undefined || !sameEra(earlier, entry)) continue;
    const changed = comparable(profile, earlier) !== comparable(profile, entry);
    if (earlier.writePrefix !== entry.writePrefix) {
      if (changed && sameVersions(earlier, entry)) repeats.leaky.add(entry.tool);
      continue;
    }
    countPair(profiles, entry, entries.slice(earlierIndex + 1, index), changed, repeats);
  }
}

function countPair(profiles: ToolProfiles, read: TapeEntry, between: readonly TapeEntry[], changed: boolean, repeats: Repeats): void {
  const suspects = new Set(between.filter((entry) => !entry.isError && isAbout(profiles, entry, read)).map((entry) => entry.tool));
  count(repeats.all, read, changed);
  const [suspect] = suspects;
  // With several suspects nobody can be blamed; repeats with one suspect come by soon enough.
  if (suspect === undefined || suspects.size > 1) return;
  const around = repeats.around.get(suspect) ?? { pairs: 0, changed: 0, plain: 0 };
  count(around, read, changed);
  repeats.around.set(suspect, around);
}

function count(counts: Counts, later: TapeEntry, changed: boolean): void {
  counts.pairs += 1;
  counts.changed += changed ? 1 : 0;
  counts.plain += changed && !later.isError ? 1 : 0;
}

/** Whether a call was, by its arguments, about something that the read is about; a call about nothing in particular may be about anything. */
function isAbout(profiles: ToolProfiles, entry: TapeEntry, read: TapeEntry): boolean {
  const profile = profileOf(profiles, entry.tool);
  if (isStateless(profile)) return false;
  const named = entitiesOfCall(profile, parseResult(entry.argumentsCanonical)).filter((entity) => entity !== EVERYTHING);
  return named.length === 0 || named.some((entity) => read.entitiesTouched.includes(entity));
}

/** No recorded write of another conversation came in between. */
function sameEra(earlier: TapeEntry, later: TapeEntry): boolean {
  return later.entitiesTouched.every((entity) => {
    const [before, after] = [earlier.entityEra[entity], later.entityEra[entity]];
    return before !== undefined && before >= 0 && after !== undefined && after >= 0 && before === after;
  });
}

function sameVersions(earlier: TapeEntry, later: TapeEntry): boolean {
  return later.entitiesTouched.every((entity) => earlier.entityVersion[entity] === later.entityVersion[entity]);
}

function comparable(profile: ToolProfile, entry: TapeEntry): string {
  return canonicalJson(withoutPaths(parseResult(entry.result), profile.volatileResultPaths));
}

import type { Scalar } from "../entities.ts";
import { isStateless, mayWrite, profileOf, type ToolFact, type ToolProfile, type ToolProfiles } from "../tool-profile.ts";
import { eachLeaf, fieldOf } from "./leaves.ts";
import { sameEra } from "./same-world.ts";
import type { Samples, Seen } from "./samples.ts";
import { hasIdName, looksDrawn, looksLikeId, tellsNow } from "./values.ts";

/** Repeats in one state, on how many tapes, in every one of which the path changed. */
const MIN_PAIRS = 5;
const MIN_TAPES = 2;
/** Successful writes whose ids at a path were all new, before they count as drawn anew each time. */
const MIN_NEW_IDS = 10;
const MAX_PATHS = 200;
/** A repeat further away than this is hardly undisturbed. */
const MAX_BETWEEN = 50;

/**
 * Result paths that differ from call to call and mean nothing, by tool. Of a read: every repeat of the same call in the same state, with nothing in
 * between that may have written, showed another value there, and each is the call's own time or looks drawn. A counter is neither; what changes
 * only across writes or eras did not change in such a repeat. Of a write: each success showed an id there that nobody had seen before.
 */
export function learnVolatile(profiles: ToolProfiles, samples: Samples): ReadonlyMap<string, readonly ToolFact[]> {
  const written = newIds(profiles, samples);
  return new Map(
    [...samples.tools.values()].map(({ tool, seen }) => {
      const profile = profileOf(profiles, tool);
      return [tool, mayWrite(profile) ? (written.get(tool) ?? []) : changing(profiles, profile, seen, samples)];
    }),
  );
}

interface PathCounts {
  changed: number;
  same: number;
  tapes: Set<string>;
  isNoise: boolean;
}

function changing(profiles: ToolProfiles, profile: ToolProfile, seen: readonly Seen[], samples: Samples): ToolFact[] {
  const paths = new Map<string, PathCounts>();
  const last = new Map<string, Seen>();
  for (const later of seen) {
    const key = `${later.tape.id}\n${later.entry.callKey}`;
    const earlier = last.get(key);
    last.set(key, later);
    if (earlier !== undefined && isUndisturbed(profiles, profile, earlier, later)) comparePair(paths, earlier, later, samples);
  }
  return [...paths]
    .filter(([, { changed }]) => changed > 0)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([path, { changed, same, tapes, isNoise }]): ToolFact => {
      const used = isNoise && same === 0 && changed >= MIN_PAIRS && tapes.size >= MIN_TAPES;
      const note = used
        ? "another time or drawn value in every repeat in one state"
        : isNoise
          ? "too few repeats, or not in each"
          : "neither the call's time nor drawn: it may be state";
      return { about: "volatileResultPaths", value: path, from: "learned", for: changed, against: same, used, note };
    });
}

/** Nothing in between that may have written, nor another read that may be a hidden write. */
function isUndisturbed(profiles: ToolProfiles, profile: ToolProfile, earlier: Seen, later: Seen): boolean {
  const { entries } = later.tape;
  if (earlier.entry.isError || later.entry.isError || earlier.entry.writePrefix !== later.entry.writePrefix) return false;
  if (!isStateless(profile) && !sameEra(earlier.entry, later.entry)) return false;
  if (later.index - earlier.index > MAX_BETWEEN) return false;
  const between = entries.slice(earlier.index + 1, later.index);
  return between.every(({ tool }) => tool === profile.tool || isStateless(profileOf(profiles, tool)));
}

function comparePair(paths: Map<string, PathCounts>, earlier: Seen, later: Seen, samples: Samples): void {
  const before = leavesOf(earlier);
  for (const [path, values] of leavesOf(later)) {
    const old = before.get(path);
    if (old === undefined || old.length !== values.length || (!paths.has(path) && paths.size >= MAX_PATHS)) continue;
    const counts = paths.get(path) ?? { changed: 0, same: 0, tapes: new Set<string>(), isNoise: true };
    paths.set(path, counts);
    if (values.some((value, index) => value === old[index])) counts.same += 1;
    else {
      counts.changed += 1;
      counts.tapes.add(later.tape.id);
      counts.isNoise &&= isNoise(old, earlier, samples) && isNoise(values, later, samples);
    }
  }
}

/** The time of the call, or drawn and never used as an argument: what agents hand on means something. */
function isNoise(values: readonly Scalar[], { entry }: Seen, samples: Samples): boolean {
  return values.every((value) => tellsNow(value, entry) || (looksDrawn(value) && samples.placesOf(value) === undefined));
}

interface NewIds {
  values: Set<string>;
  tapes: Set<string>;
  count: number;
  isNew: boolean;
}

/** Result paths of writes where every success showed an id, or a time, that was in no argument and in no answer of the conversation before. */
function newIds(profiles: ToolProfiles, samples: Samples): ReadonlyMap<string, readonly ToolFact[]> {
  const tools = new Map<string, Map<string, NewIds>>();
  for (const conversation of samples.conversations) {
    const known = new Set<string>();
    for (const seen of conversation) {
      const paths = tools.get(seen.entry.tool) ?? new Map<string, NewIds>();
      tools.set(seen.entry.tool, paths);
      eachLeaf(seen.args, (_, value) => void known.add(String(value)));
      const isCounted = mayWrite(profileOf(profiles, seen.entry.tool)) && !seen.entry.isError;
      const leaves = leavesOf(seen);
      for (const [path, values] of isCounted ? leaves : []) {
        const counts = paths.get(path) ?? { values: new Set<string>(), tapes: new Set<string>(), count: 0, isNew: true };
        if (!paths.has(path) && paths.size >= MAX_PATHS) continue;
        paths.set(path, counts);
        counts.count += values.length;
        counts.tapes.add(seen.tape.conversationId);
        for (const value of values) counts.values.add(String(value));
        counts.isNew &&= values.every((value) => isNewId(value, path, seen) && !known.has(String(value)));
      }
      for (const value of [...leaves.values()].flat()) known.add(String(value));
    }
  }
  return new Map(
    [...tools].map(([tool, paths]) => {
      const drawn = [...paths].filter(
        ([, { isNew, count, values, tapes }]) => isNew && count >= MIN_NEW_IDS && tapes.size >= MIN_TAPES && values.size === count,
      );
      const facts = drawn
        .sort(([one], [other]) => (one < other ? -1 : 1))
        .map(([path, { count }]): ToolFact => {
          const fact = { about: "volatileResultPaths", value: path, from: "learned", for: count, against: 0, used: true } as const;
          return { ...fact, note: "every success made a new one" };
        });
      return [tool, facts];
    }),
  );
}

function isNewId(value: Scalar, path: string, { entry }: Seen): boolean {
  return tellsNow(value, entry) || looksDrawn(value) || (hasIdName(fieldOf(path)) && looksLikeId(value, fieldOf(path)));
}

function leavesOf({ result }: Seen): Map<string, Scalar[]> {
  const leaves = new Map<string, Scalar[]>();
  if (result === null || typeof result !== "object") return leaves;
  eachLeaf(result, (path, value) => {
    const values = leaves.get(path);
    if (values === undefined) leaves.set(path, [value]);
    else values.push(value);
  });
  return leaves;
}

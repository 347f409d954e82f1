import { textOf } from "../trace/message.ts";
import { withEras } from "./era.ts";
import { learnRoles } from "./profiles/argument-roles.ts";
import { declaredProfiles } from "./profiles/declared-class.ts";
import { demotions, withDemotions, type Noise } from "./profiles/demote.ts";
import { learnKeys, type LearnedKey } from "./profiles/entity-keys.ts";
import { learnErrorPath } from "./profiles/error-shapes.ts";
import { collectSamples, type Samples, type Seen, type ToldTexts } from "./profiles/samples.ts";
import { learnShownArguments } from "./profiles/shown-arguments.ts";
import { shownDemotions } from "./profiles/shown-change.ts";
import { learnVolatile } from "./profiles/volatile.ts";
import { createCallReader, showsError, tapeIdOf, tapeOf, type ReadCalls } from "./record-tape.ts";
import type { Tape } from "./tape.ts";
import { profileOf, type ToolConfig, type ToolFact, type ToolProfile, type ToolProfiles } from "./tool-profile.ts";
import type { Trajectory } from "./trajectory.ts";

/** Every demotion shifts the recorded states, so it may uncover another one. */
const MAX_ROUNDS = 8;
/** Facts that are kept of one tool; tools with hundreds of fields have hundreds. */
const MAX_FACTS = 100;

/**
 * Profiles of all tools that the configuration or the trajectories name. What the operator declared stands; of the rest, the class is what MCP
 * annotations or HTTP verbs say, and roles, entities, volatile paths and error path are learned (see ARCHITECTURE.md for what each may change in
 * replay). The tapes may only demote: a "read" around which other answers change becomes a write; a read whose answer was changed by writes to
 * other entities, in several conversations, depends on everything. Deterministic; the order of the trajectories does not matter. About 90 µs of CPU a recorded call.
 */
export function learnProfiles(configs: Readonly<Record<string, ToolConfig>>, trajectories: readonly Trajectory[]): ToolProfiles {
  const recordings = recordingsOf(trajectories);
  const declared = declaredProfiles(configs, recordings.trajectories);
  const mayLearn = (tool: string, field: keyof ToolConfig): boolean => {
    const config = Object.hasOwn(configs, tool) ? configs[tool] : undefined;
    return config?.learn !== false && (field === "argumentRoles" || config?.[field] === undefined);
  };
  const keys = learnKeys(declared, collectSamples(recordings.tapesWithoutEras(declared), recordings.told));
  let profiles = withKeys(declared, keys, mayLearn);
  for (let round = 0; ; round += 1) {
    const tapes = recordings.tapes(profiles);
    const samples = collectSamples(tapes, recordings.told);
    const volatile = learnVolatile(profiles, samples);
    const noise = noiseOf(volatile);
    const isLast = round === MAX_ROUNDS;
    const repeated = isLast ? [] : demotions(declared, profiles, tapes, noise);
    // Repeats speak first: a write that they tell is no reason to blame a read.
    const found = isLast || repeated.length > 0 ? repeated : shownDemotions(profiles, samples, noise);
    const learned = found.length > 0 ? profiles : withLearned(profiles, samples, volatile, mayLearn);
    // A clock in every call hides its repeats: they are seen once it is known.
    const late = isLast || !hasOtherKeys(profiles, learned) ? [] : demotions(declared, learned, recordings.tapes(learned), noise);
    if (found.length + late.length === 0) return counted(withShown(learned, samples), samples);
    profiles = withDemotions(profiles, [...found, ...late]);
  }
}

interface Recordings {
  trajectories: readonly Trajectory[];
  told: ToldTexts;
  /** Tapes with eras. The split does not matter here: profiles carry counts, no content. */
  tapes(profiles: ToolProfiles): readonly Tape[];
  tapesWithoutEras(profiles: ToolProfiles): readonly Tape[];
}

/** In the order of time, each read once. */
function recordingsOf(given: readonly Trajectory[]): Recordings {
  const trajectories = given.toSorted((a, b) => a.startedAtMs - b.startedAtMs || (tapeIdOf(a) < tapeIdOf(b) ? -1 : 1));
  const read = trajectories.map(createCallReader());
  const tapesWithoutEras = (profiles: ToolProfiles): readonly Tape[] =>
    trajectories.map((trajectory, index) => tapeOf(trajectory, { profiles, split: "train", ...present(read[index]) }));
  return {
    trajectories,
    told: new Map(trajectories.map((trajectory) => [tapeIdOf(trajectory), toldText(trajectory)])),
    tapes: (profiles) => withEras(tapesWithoutEras(profiles)),
    tapesWithoutEras,
  };
}

function present(read: ReadCalls | undefined): { read?: ReadCalls } {
  return read === undefined ? {} : { read };
}

/** Whether calls have other keys by the learned roles. */
function hasOtherKeys(profiles: ToolProfiles, learned: ToolProfiles): boolean {
  const ignored = ({ argumentRoles }: ToolProfile): number =>
    Object.values(argumentRoles).filter((role) => role === "clock" || role === "nonce").length;
  return [...learned.values()].some((profile) => ignored(profile) > ignored(profileOf(profiles, profile.tool)));
}

type VolatileFacts = ReturnType<typeof learnVolatile>;
type MayLearn = (tool: string, field: keyof ToolConfig) => boolean;

function toldText({ messages }: Trajectory): string {
  return messages
    .filter(({ role }) => role !== "assistant" && role !== "tool")
    .map(textOf)
    .join("\n");
}

/** Learned keys and entities. Their scope stays everything: that a read depends on nothing else, no number of tapes can show. */
function withKeys(declared: ToolProfiles, keys: ReadonlyMap<string, readonly LearnedKey[]>, mayLearn: MayLearn): ToolProfiles {
  let isAny = false;
  const profiles = new Map(
    [...declared].map(([tool, profile]): [string, ToolProfile] => {
      const learned = mayLearn(tool, "argumentRoles") ? (keys.get(tool) ?? []) : [];
      const roles = learned.filter(({ path }) => profile.argumentRoles[path] === undefined);
      const templates = mayLearn(tool, "entityPaths") ? learned.flatMap(({ template }) => template ?? []) : [];
      if (roles.length === 0 && templates.length === 0) return [tool, profile];
      isAny = true;
      const facts = [
        ...roles.flatMap((key) => key.facts.filter(({ about }) => about !== "entityPaths")),
        ...(templates.length === 0 ? [] : learned.flatMap((key) => key.facts.filter(({ about }) => about === "entityPaths"))),
      ];
      const entityPaths = templates.length === 0 ? profile.entityPaths : [...new Set(templates)].sort();
      const argumentRoles = { ...Object.fromEntries(roles.map(({ path }) => [path, "key" as const])), ...profile.argumentRoles };
      return [tool, { ...profile, argumentRoles, entityPaths, facts: [...profile.facts, ...facts] }];
    }),
  );
  return isAny ? profiles : declared;
}

function noiseOf(volatile: VolatileFacts): Noise {
  const used = [...volatile].map(([tool, facts]) => [tool, usedValues(facts)] as const);
  return new Map(used.filter(([, paths]) => paths.length > 0));
}

function usedValues(facts: readonly ToolFact[]): string[] {
  return facts.filter(({ used }) => used).map(({ value }) => value);
}

/** What changes no recorded state, learned from the final one: roles, volatile paths, error paths of reads. */
function withLearned(profiles: ToolProfiles, samples: Samples, volatile: VolatileFacts, mayLearn: MayLearn): ToolProfiles {
  const roles = learnRoles(profiles, samples);
  return new Map(
    [...profiles].map(([tool, profile]) => {
      const own = mayLearn(tool, "argumentRoles") ? roles.get(tool) : undefined;
      const paths = mayLearn(tool, "volatileResultPaths") ? (volatile.get(tool) ?? []) : [];
      const errors = mayLearn(tool, "errorPath") ? learnErrorPath(profile, samples.tools.get(tool)?.seen ?? []) : [];
      const learned: ToolProfile = {
        ...profile,
        argumentRoles: { ...own?.roles, ...profile.argumentRoles },
        volatileResultPaths: paths.length === 0 ? profile.volatileResultPaths : usedValues(paths),
        errorPath: usedValues(errors)[0] ?? profile.errorPath,
        facts: [...profile.facts, ...(own?.facts ?? []), ...paths, ...errors],
      };
      return [tool, learned];
    }),
  );
}

function withShown(profiles: ToolProfiles, samples: Samples): ToolProfiles {
  const shown = learnShownArguments(profiles, samples);
  return new Map([...profiles].map(([tool, profile]) => [tool, { ...profile, shownArguments: shown.get(tool) ?? [] }]));
}

function counted(profiles: ToolProfiles, samples: Samples): ToolProfiles {
  return new Map(
    [...profiles].map(([tool, profile]) => {
      const seen: readonly Seen[] = samples.tools.get(tool)?.seen ?? [];
      const latencies = seen.map(({ entry }) => entry.latencyMs).sort((a, b) => a - b);
      const errors = seen.filter(({ entry, result }) => entry.isError || showsError(profile, result)).length;
      const latencyMs = { p50: quantile(latencies, 0.5), p95: quantile(latencies, 0.95), samples: latencies.length };
      return [tool, { ...profile, calls: seen.length, errors, latencyMs, facts: ordered(profile.facts) }];
    }),
  );
}

/** Grouped by what they are about, in the order in which they were found; what is gone by first. */
function ordered(facts: readonly ToolFact[]): readonly ToolFact[] {
  const order = ["class", "scope", "entityPaths", "argumentRoles", "volatileResultPaths", "errorPath"];
  const place = ({ about }: ToolFact): number => order.indexOf(about.split(".")[0] ?? "");
  return facts.toSorted((a, b) => place(a) - place(b) || Number(b.used) - Number(a.used)).slice(0, MAX_FACTS);
}

/** Nearest-rank quantile of ascending numbers; 0 of none. */
function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

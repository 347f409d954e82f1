import type { Scalar } from "../entities.ts";
import { mayWrite, profileOf, type ToolFact, type ToolProfiles } from "../tool-profile.ts";
import { fieldOf } from "./leaves.ts";
import { placeOf, type ArgumentSamples, type Samples, type ToolSamples } from "./samples.ts";
import { hasIdName, looksLikeId, nounOf, plausibleNames } from "./values.ts";

/** Different values that must have been seen again before an argument is believed to identify something. */
const MIN_CONFIRMED = 5;
/** Share of an argument's values that must look like ids, and of the successful ones that must have been seen again. */
const MIN_SHARE = 0.6;
/** One in this many successful values may have come from nowhere: telemetry is cut, texts are reworded. */
const MAX_INVENTED_SHARE = 0.05;

/** An argument that identifies an entity, with the evidence. */
export interface LearnedKey {
  path: string;
  /** Template of the entity, or null where nothing names it. */
  template: string | null;
  facts: readonly ToolFact[];
}

/**
 * Arguments that are ids: their values look like ids, and are seen again under a plausible name where other tools (or, for a read, its own answers)
 * speak of the same thing. What agents make up and tools take (a note, a request's number) is none, however it looks: an id is told before it is used.
 */
export function learnKeys(profiles: ToolProfiles, samples: Samples): ReadonlyMap<string, readonly LearnedKey[]> {
  const templates = [...profiles.values()].flatMap(({ entityPaths }) => entityPaths);
  return new Map(
    [...samples.tools.values()].map((tool) => [
      tool.tool,
      [...tool.arguments.values()].flatMap((argument) => keyOf(profiles, samples, tool, argument, templates) ?? []),
    ]),
  );
}

function keyOf(
  profiles: ToolProfiles,
  samples: Samples,
  tool: ToolSamples,
  argument: ArgumentSamples,
  templates: readonly string[],
): LearnedKey | null {
  const name = fieldOf(argument.path);
  const succeeded = argument.given.filter(({ seen }) => !seen.entry.isError);
  const values = new Map(succeeded.map(({ value, wasTold }) => [String(value), { value, wasTold }]));
  const alike = [...values.values()].filter(({ value }) => looksLikeId(value, name));
  if (argument.lists > 0 || alike.length < MIN_CONFIRMED || alike.length < MIN_SHARE * values.size) return null;
  const isRead = !mayWrite(profileOf(profiles, tool.tool));
  const confirmed = alike.filter(({ value }) => isSeenAgain(samples, { tool: tool.tool, name, isRead }, value)).length;
  if (confirmed < MIN_CONFIRMED || confirmed < MIN_SHARE * values.size) return null;
  const invented = succeeded.filter(({ value, wasTold, seen }) => {
    const shownAtMs = samples.placesOf(value)?.shownAtMs ?? null;
    return !wasTold && (shownAtMs === null || shownAtMs >= seen.entry.startedAtMs);
  }).length;
  if (invented > MAX_INVENTED_SHARE * succeeded.length) return null;
  const evidence = { from: "learned", for: confirmed, against: values.size - confirmed, used: true } as const;
  const template = templateOf(samples, tool, argument, templates);
  const facts: ToolFact[] = [
    { about: `argumentRoles.${argument.path}`, value: "key", ...evidence, note: "values that other answers and calls name" },
  ];
  if (template !== null) {
    facts.push({ about: "entityPaths", value: template, ...evidence, note: "no read depends on learned entities alone" });
  }
  return { path: argument.path, template, facts };
}

/** In an answer or an argument of another tool; in its own answers only where the name says what it is and the tool cannot have made it true. */
function isSeenAgain(samples: Samples, argument: { tool: string; name: string; isRead: boolean }, value: Scalar): boolean {
  const { tool, name, isRead } = argument;
  if (isKnownElsewhere(samples, tool, name, value)) return true;
  if (!hasIdName(name)) return false;
  const own = [...(samples.placesOf(value)?.results ?? [])].map(placeOf);
  return own.some((place) => plausibleNames(name, place.field) && (isRead || place.field !== name));
}

function isShownElsewhere(samples: Samples, tool: string, name: string, value: Scalar): boolean {
  const places = [...(samples.placesOf(value)?.results ?? [])].map(placeOf);
  return places.some((place) => place.tool !== tool && plausibleNames(name, place.field));
}

function isKnownElsewhere(samples: Samples, tool: string, name: string, value: Scalar): boolean {
  if (isShownElsewhere(samples, tool, name, value)) return true;
  const places = [...(samples.placesOf(value)?.arguments ?? [])].map(placeOf);
  return places.some((place) => place.tool !== tool && plausibleNames(name, place.field));
}

/** A configured template over the same argument, so that all tools speak of one entity; else one by the argument's own name, or its values' names. */
function templateOf(samples: Samples, tool: ToolSamples, { path, given }: ArgumentSamples, templates: readonly string[]): string | null {
  const configured = templates.filter((template) => template.endsWith(`:{${path}}`)).sort();
  if (configured[0] !== undefined) return configured[0];
  const own = nounOf(fieldOf(path));
  if (own !== null) return `${own}:{${path}}`;
  const nouns = new Map<string, number>();
  for (const { value } of given.slice(0, 200)) {
    const places = samples.placesOf(value);
    const fields = [...(places?.arguments ?? []), ...(places?.results ?? [])].map(placeOf).map(({ field }) => field);
    for (const noun of new Set(fields.flatMap((field) => nounOf(field) ?? []))) nouns.set(noun, (nouns.get(noun) ?? 0) + 1);
  }
  const [most] = [...nouns].sort(([one, a], [other, b]) => b - a || (one < other ? -1 : 1));
  return most === undefined || most[1] < MIN_CONFIRMED ? null : `${most[0]}:{${path}}`;
}

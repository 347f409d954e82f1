import { mayWrite, profileOf, type ToolProfiles } from "../tool-profile.ts";
import type { Samples } from "./samples.ts";

/** Shorter words occur in answers by chance, unless an answer says them and nothing else. */
const MIN_LENGTH = 3;

/**
 * Free text of writes that a later answer of the same conversation repeated, by tool: a comment that a read shows is what was written, where the reason
 * of a refund is mere wording. One time is enough: two writes that are told apart without need cost coverage, two that are not cost a wrong answer.
 */
export function learnShownArguments(profiles: ToolProfiles, samples: Samples): ReadonlyMap<string, readonly string[]> {
  const shown = new Map<string, readonly string[]>();
  const conversations = new Map(samples.conversations.map((calls) => [calls[0]?.tape.id ?? "", calls]));
  for (const { tool, arguments: all } of samples.tools.values()) {
    const profile = profileOf(profiles, tool);
    if (!mayWrite(profile)) continue;
    const paths = [...all.values()].filter(({ path, given }) => {
      if (profile.argumentRoles[path] !== "freeText") return false;
      return given.some(({ value, seen }) => {
        if (typeof value !== "string" || value === "") return false;
        const text = JSON.stringify(value);
        const quoted = value.length < MIN_LENGTH ? text : text.slice(1, -1);
        const later = conversations.get(seen.tape.id)?.slice(seen.index + 1) ?? [];
        return later.some(({ entry }) => entry.result.includes(quoted) || (value.length >= MIN_LENGTH && entry.result.includes(value)));
      });
    });
    if (paths.length > 0) shown.set(tool, paths.map(({ path }) => path).sort());
  }
  return shown;
}

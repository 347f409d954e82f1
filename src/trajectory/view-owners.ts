import { entityByPath, filledBy, templatesOf, type Owners } from "./entities.ts";
import { isStateless, mayWrite, profileOf, type ToolProfiles } from "./tool-profile.ts";

/** One recorded answer, parsed. */
export interface Answered {
  tool: string;
  isError: boolean;
  args: unknown;
  parsed: unknown;
}

/**
 * Whose fields an object's fields are where it names several things. A read that was asked about A and names B in its answer tells of A: a booking says its
 * room, and its nights are none of the room's. Where reads of both name each other, the fields stay with both.
 */
export function learnOwners(profiles: ToolProfiles, calls: Iterable<Answered>): Owners {
  const templates = templatesOf(profiles);
  const over = new Map<string, Set<string>>();
  for (const { tool, isError, args, parsed } of calls) {
    const profile = profileOf(profiles, tool);
    if (isError || mayWrite(profile) || isStateless(profile) || parsed === null || typeof parsed !== "object" || Array.isArray(parsed))
      continue;
    const named = entityByPath(profile, args);
    for (const [place, asked] of profile.entityPaths.entries()) {
      const entity = named[place];
      if (entity === null || entity === undefined || filledBy(asked, parsed) !== entity) continue;
      const others = templates.filter((template) => template !== asked && ![null, entity].includes(filledBy(template, parsed)));
      if (others.length > 0) over.set(asked, new Set([...(over.get(asked) ?? []), ...others]));
    }
  }
  const yields = new Map<string, Set<string>>();
  for (const [asked, others] of over) {
    for (const other of others) {
      if (over.get(other)?.has(asked) !== true) yields.set(other, (yields.get(other) ?? new Set()).add(asked));
    }
  }
  return yields;
}

import { stringify } from "yaml";
import type { ToolFact, ToolProfile } from "../tool-profile.ts";

/**
 * What an operator would put below `agents.<agent>.tools` to say everything that is known of a tool, as YAML; to be read before it is pasted. What
 * would widen what replay serves is a comment: roles of a write, and learned entities, on which declared reads depend alone.
 */
export function configSnippet(profile: ToolProfile): string {
  const { tool, cls, argumentRoles, entityPaths, volatileResultPaths, errorPath, freshnessMs } = profile;
  const declaredPaths = entityPaths.filter((path) => !profile.facts.some((fact) => isLearnedEntity(fact) && fact.value === path));
  const declared = {
    class: cls,
    ...(Object.keys(argumentRoles).length === 0 ? {} : { argumentRoles }),
    ...(declaredPaths.length === 0 ? {} : { entityPaths: declaredPaths }),
    ...(volatileResultPaths.length === 0 ? {} : { volatileResultPaths: [...volatileResultPaths] }),
    ...(errorPath === "error" ? {} : { errorPath }),
    ...(freshnessMs === null ? {} : { freshnessMs }),
  };
  const unused = profile.facts.filter((fact) => (!fact.used || isLearnedEntity(fact)) && fact.about !== "class");
  const comments = unused.map(
    (fact) => `# ${quoted(fact.about)}: ${quoted(fact.value)} (${fact.for} for, ${fact.against} against: ${fact.note})`,
  );
  return [stringify({ [tool]: declared }).trimEnd(), ...comments].join("\n");
}

function isLearnedEntity({ about, from }: ToolFact): boolean {
  return about === "entityPaths" && from === "learned";
}

/** Names come from telemetry: a line break in one must not end a comment. */
function quoted(name: string): string {
  return /^[\w.*:{}-]+$/.test(name) ? name : JSON.stringify(name);
}

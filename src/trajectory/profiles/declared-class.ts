import { isToolCall, type ToolAnnotations } from "../../trace/message.ts";
import { declaredProfile, type ToolConfig, type ToolFact, type ToolProfile, type ToolProfiles } from "../tool-profile.ts";
import type { Trajectory } from "../trajectory.ts";

/** Calls that must all have been plain reads of HTTP before their tool counts as one. */
const MIN_HTTP_READS = 5;
/** RFC 9110, 9.2.1. TRACE is safe too, and no tool's. */
const SAFE_VERBS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
/** POST is how queries are asked, too. */
const WRITING_VERBS: ReadonlySet<string> = new Set(["PUT", "PATCH", "DELETE"]);

/** What the trajectories say of one tool from outside its answers. */
interface Claims {
  annotations: ToolAnnotations[];
  /** HTTP verbs below each of its calls that has a span of its own; empty where none was seen. */
  verbs: (readonly string[])[];
}

/**
 * Profiles of all tools that the configuration or the trajectories name, before the tapes say anything: the class is the operator's word, else that of
 * its MCP annotations, else that of its HTTP verbs, else unknown. Annotations are hints, and only a consistent `readOnlyHint: true` counts.
 */
export function declaredProfiles(configs: Readonly<Record<string, ToolConfig>>, trajectories: readonly Trajectory[]): ToolProfiles {
  const claims = new Map<string, Claims>(Object.keys(configs).map((name) => [name, { annotations: [], verbs: [] }]));
  for (const trajectory of trajectories) addClaims(claims, trajectory);
  return new Map(
    [...claims]
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, own]) => {
        const config = Object.hasOwn(configs, name) ? configs[name] : undefined;
        const profile = declaredProfile(name, config);
        const described = { ...profile, facts: configFacts(profile, config) };
        return [name, config?.class !== undefined || config?.learn === false ? described : claimed(described, own)];
      }),
  );
}

function addClaims(claims: Map<string, Claims>, trajectory: Trajectory): void {
  const of = (name: string): Claims => {
    const own = claims.get(name) ?? { annotations: [], verbs: [] };
    claims.set(name, own);
    return own;
  };
  for (const { name, annotations } of trajectory.tools ?? []) {
    const own = of(name);
    if (annotations !== undefined) own.annotations.push(annotations as ToolAnnotations);
  }
  const timings = new Map(trajectory.toolTimings.map((timing) => [timing.callId, timing]));
  let turn = -1;
  for (const message of trajectory.messages) {
    if (message.role === "assistant") turn += 1;
    for (const [index, call] of message.parts.filter(isToolCall).entries()) {
      const timing = timings.get(call.id ?? "") ?? timings.get(`${turn}:${index}`);
      const own = of(call.name);
      if (timing !== undefined) own.verbs.push(timing.httpMethods ?? []);
    }
  }
}

function configFacts(profile: ToolProfile, config: ToolConfig | undefined): ToolFact[] {
  if (config === undefined) return [];
  const said = (about: string, value: string): ToolFact => ({ about, value, from: "config", for: 0, against: 0, used: true, note: "" });
  return [
    ...(config.class === undefined ? [] : [said("class", config.class)]),
    ...(profile.scope === "entities" ? [said("scope", "entities")] : []),
    ...Object.entries(profile.argumentRoles).map(([path, role]) => said(`argumentRoles.${path}`, role)),
    ...profile.entityPaths.map((template) => said("entityPaths", template)),
    ...profile.volatileResultPaths.map((path) => said("volatileResultPaths", path)),
    ...(config.errorPath === undefined ? [] : [said("errorPath", config.errorPath)]),
  ];
}

function claimed(profile: ToolProfile, { annotations, verbs }: Claims): ToolProfile {
  const facts = [...mcpFact(annotations), ...httpFact(verbs)];
  const [first, ...others] = facts;
  if (first === undefined) return profile;
  const evidence = first.from === "mcp" ? "mcp" : "http";
  const cls = first.value === "read" || first.value === "write" ? first.value : "unknown";
  const rest = others.map((fact) => ({ ...fact, used: false, note: "the annotation comes first" }));
  return { ...profile, cls, evidence: cls === "unknown" ? "none" : evidence, facts: [...profile.facts, first, ...rest] };
}

/** `readOnlyHint` is false where it is absent, as the protocol has it. */
function mcpFact(annotations: readonly ToolAnnotations[]): ToolFact[] {
  if (annotations.length === 0) return [];
  const reads = annotations.filter(({ readOnlyHint }) => readOnlyHint === true).length;
  const isRead = reads === annotations.length;
  const others = annotations.length - reads;
  return [
    {
      ...{ about: "class", value: isRead ? "read" : "write", from: "mcp", used: true },
      ...{ for: isRead ? reads : others, against: isRead ? 0 : reads, note: "definitions with MCP annotations; hints, no promises" },
    },
  ];
}

function httpFact(verbs: readonly (readonly string[])[]): ToolFact[] {
  const seen = verbs.flat();
  if (seen.length === 0) return [];
  const isAny = (known: ReadonlySet<string>) => verbs.filter((own) => own.some((verb) => known.has(verb))).length;
  const reads = verbs.filter((own) => own.length > 0 && own.every((verb) => SAFE_VERBS.has(verb))).length;
  const writes = isAny(WRITING_VERBS);
  const names = [...new Set(seen)].sort().join(", ");
  const fact = { about: "class", from: "http" } as const;
  if (writes > 0) return [{ ...fact, value: "write", for: writes, against: reads, used: true, note: names }];
  const isRead = reads === verbs.length && reads >= MIN_HTTP_READS;
  const note = isRead ? names : `${names}; a read needs ${MIN_HTTP_READS} calls, and GET or HEAD alone below every one`;
  return [{ ...fact, value: isRead ? "read" : "unknown", for: reads, against: verbs.length - reads, used: isRead, note }];
}

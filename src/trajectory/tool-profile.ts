import type { AgentConfig } from "../config.ts";

/** unknown is treated as write. */
export type ToolClass = "pure" | "constant" | "read" | "write" | "unknown";
export type ArgumentRole = "key" | "filter" | "freeText" | "clock" | "nonce";

/** What is known about one tool: class and roles from config, the rest counted on tapes. Statistics may only demote a class (read → write). */
export interface ToolProfile {
  tool: string;
  cls: ToolClass;
  /** Why it has this class: the operator's word, nothing known, or a demotion that the tapes forced. */
  evidence: "config" | "none" | "demoted";
  /**
   * What a read's answer depends on: the entities it touches, or everything ever written. `everything` for reads with filters or without entities,
   * and for those whose answer was seen to change by a write to another entity.
   */
  scope: "entities" | "everything";
  argumentRoles: Readonly<Record<string, ArgumentRole>>;
  /** Templates over the arguments, `order:{order_id}`. */
  entityPaths: readonly string[];
  volatileResultPaths: readonly string[];
  errorPath: string;
  freshnessMs: number | null;
  calls: number;
  errors: number;
  latencyMs: { p50: number; p95: number; samples: number };
}

export type ToolConfig = AgentConfig["tools"][string];

/** By tool name; a Map, because tool names are untrusted. */
export type ToolProfiles = ReadonlyMap<string, ToolProfile>;

/** Whether a call may change the world: everything that is not known to be harmless. */
export function mayWrite(profile: ToolProfile): boolean {
  return profile.cls === "write" || profile.cls === "unknown";
}

/** Whether the answer depends on nothing but the arguments. */
export function isStateless(profile: ToolProfile): boolean {
  return profile.cls === "pure" || profile.cls === "constant";
}

/** The profile by configuration alone, before anything was counted. `config` undefined: a tool nobody described. */
export function declaredProfile(tool: string, config: ToolConfig | undefined): ToolProfile {
  const cls = config?.class ?? "unknown";
  const argumentRoles = config?.argumentRoles ?? {};
  const entityPaths = config?.entityPaths ?? [];
  const filtered = Object.values(argumentRoles).includes("filter");
  return {
    tool,
    cls,
    evidence: config === undefined ? "none" : "config",
    scope: entityPaths.length === 0 || (filtered && cls === "read") ? "everything" : "entities",
    argumentRoles,
    entityPaths,
    volatileResultPaths: config?.volatileResultPaths ?? [],
    errorPath: config?.errorPath ?? "error",
    freshnessMs: config?.freshnessMs ?? null,
    calls: 0,
    errors: 0,
    latencyMs: { p50: 0, p95: 0, samples: 0 },
  };
}

/** The profile of `tool`, or that of a tool nobody described. */
export function profileOf(profiles: ToolProfiles, tool: string): ToolProfile {
  return profiles.get(tool) ?? declaredProfile(tool, undefined);
}

import type { AgentConfig } from "../config.ts";

/** unknown is treated as write. */
export type ToolClass = "pure" | "constant" | "read" | "write" | "unknown";
export type ArgumentRole = "key" | "filter" | "freeText" | "clock" | "nonce";
/** Whose word something is: the operator's, an MCP annotation's, an HTTP verb's, the tapes', or the tapes' against what was claimed. */
export type KnownFrom = "config" | "mcp" | "http" | "learned" | "demoted";

/** One thing known about a tool, with what speaks for and against it. */
export interface ToolFact {
  /** `class`, `scope`, `argumentRoles.<path>`, `entityPaths`, `volatileResultPaths` or `errorPath`. */
  about: string;
  value: string;
  from: KnownFrom;
  /** Observations that speak for it, and against it; both 0 where it is somebody's word. */
  for: number;
  against: number;
  /** Whether replay goes by it. What is only shown would widen what replay serves: an operator may say so in the configuration. */
  used: boolean;
  /** Why it is not used, or what it rests on; empty where nothing is to be said. */
  note: string;
}

/**
 * What is known about one tool: what the operator declared, what annotations, verbs and tapes say of the rest, and what was counted. Statistics may
 * only demote a class (read → write). Counts and names of fields, no content.
 */
export interface ToolProfile {
  tool: string;
  cls: ToolClass;
  /** Why it has this class: the operator's word, an MCP annotation, the HTTP verb of its calls, nothing known, or a demotion that the tapes forced. */
  evidence: "config" | "mcp" | "http" | "none" | "demoted";
  /**
   * What a read's answer depends on: the entities it touches, or everything ever written. `everything` for reads with filters or without entities,
   * for entities that only the tapes told, and for those whose answer was seen to change by a write to another entity.
   */
  scope: "entities" | "everything";
  argumentRoles: Readonly<Record<string, ArgumentRole>>;
  /** Free text of a write that later answers showed: what was written is told apart by it. */
  shownArguments: readonly string[];
  /** Templates over the arguments, `order:{order_id}`. */
  entityPaths: readonly string[];
  volatileResultPaths: readonly string[];
  errorPath: string;
  freshnessMs: number | null;
  calls: number;
  errors: number;
  latencyMs: { p50: number; p95: number; samples: number };
  /** How each of the above is known, and what was seen but is not gone by. In the order of `about`. */
  facts: readonly ToolFact[];
}

export type ToolConfig = AgentConfig["tools"][string];

/** By tool name; a Map, because tool names are untrusted. */
export type ToolProfiles = ReadonlyMap<string, ToolProfile>;

/** Whether a call may change the world: everything that is not known to be harmless. */
export function mayWrite(profile: ToolProfile): boolean {
  return profile.cls === "write" || profile.cls === "unknown";
}

/** The roles by which writes are told apart: free text that later answers show is no mere wording. */
export function writeRolesOf({ argumentRoles, shownArguments }: ToolProfile): Readonly<Record<string, ArgumentRole>> {
  if (shownArguments.length === 0) return argumentRoles;
  return Object.fromEntries(Object.entries(argumentRoles).filter(([path]) => !shownArguments.includes(path)));
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
    evidence: config?.class === undefined ? "none" : "config",
    scope: entityPaths.length === 0 || (filtered && cls === "read") ? "everything" : "entities",
    argumentRoles,
    shownArguments: [],
    entityPaths,
    volatileResultPaths: config?.volatileResultPaths ?? [],
    errorPath: config?.errorPath ?? "error",
    freshnessMs: config?.freshnessMs ?? null,
    calls: 0,
    errors: 0,
    latencyMs: { p50: 0, p95: 0, samples: 0 },
    facts: [],
  };
}

/** The profile of `tool`, or that of a tool nobody described. */
export function profileOf(profiles: ToolProfiles, tool: string): ToolProfile {
  return profiles.get(tool) ?? declaredProfile(tool, undefined);
}

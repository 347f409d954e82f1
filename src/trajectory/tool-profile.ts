import type { AgentConfig } from "../config.ts";

/** unknown is treated as write. */
export type ToolClass = "pure" | "constant" | "read" | "write" | "unknown";
export type ArgumentRole = "key" | "filter" | "freeText" | "clock" | "nonce";

/** What is known about one tool: class and roles from config, the rest counted on tapes. Statistics may only demote a class (read → write). */
export interface ToolProfile {
  tool: string;
  cls: ToolClass;
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

import type { ToolDefinition } from "../../src/trace/message.ts";
import type { ToolConfig } from "../../src/trajectory/tool-profile.ts";
import type { Random } from "../../deploy/quickstart/random.ts";

/** A small system with real state: the oracle that replay is compared with. */
export interface World {
  /** Executes one call and answers as the agent's request would carry it. Mistakes are answered, never thrown. */
  call(tool: string, args: unknown): string;
  /** A change that no agent made and no tape shows. */
  background(random: Random): void;
  clone(): World;
  /** Calls answered so far, and how many of them changed something: replay must leave both alone. */
  counters(): { calls: number; writes: number };
}

export interface WorldCall {
  tool: string;
  args: unknown;
}

/** What a customer wants: enough for a policy to act, and their first message. */
export interface Task {
  user: string;
  message: string;
  kind: string;
  ids: Readonly<Record<string, string>>;
}

/** An agent: yields the calls of one turn, gets their answers, returns its reply. */
export type Policy = (task: Task, random: Random) => Generator<readonly WorldCall[], string, readonly string[]>;

export interface WorldKind {
  name: string;
  tools: readonly ToolDefinition[];
  toolConfigs: Readonly<Record<string, ToolConfig>>;
  /** Tools whose answers are compared with these paths left out (new ids) when they were made up. */
  create(seed: number): World;
  task(random: Random): Task;
  policy: Policy;
}

/** A tool profile as the config would hold it, with its defaults. */
export function toolConfig(config: Partial<ToolConfig> & Pick<ToolConfig, "class">): ToolConfig {
  return { argumentRoles: {}, entityPaths: [], volatileResultPaths: [], errorPath: "error", ...config };
}

/** A definition whose arguments are strings unless said otherwise. */
export function define(
  name: string,
  properties: Record<string, Record<string, unknown>>,
  required = Object.keys(properties),
): ToolDefinition {
  return {
    name,
    description: name.replaceAll("_", " "),
    parameters: { type: "object", properties, required, additionalProperties: false },
  };
}

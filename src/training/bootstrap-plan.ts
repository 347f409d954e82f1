import type { LiveWorld } from "../rollout/live/live-world.ts";
import type { TaskTool } from "../scenario/bootstrap/tool-list.ts";
import type { LlmClient } from "../serving/llm.ts";
import type { NightDeps } from "./night-context.ts";
import type { Run } from "./run-store.ts";
import type { WrittenTasks } from "./write-tasks.ts";

/** What a run that learns against a sandbox was asked for, in its row's plan. */
export interface BootstrapPlan {
  /** Tasks to make up. */
  tasks: number;
  systemPrompt: string | null;
}

/** Null for a night on recordings. */
export function bootstrapPlanOf({ plan }: Pick<Run, "plan">): BootstrapPlan | null {
  return (plan["bootstrap"] ?? null) as BootstrapPlan | null;
}

/** What learning against a sandbox takes. */
export interface Sandbox {
  world: LiveWorld;
  /** Makes tasks up. */
  writer: LlmClient;
}

export interface BootstrapDeps extends NightDeps {
  /** @throws NightshiftError `bootstrap_not_configured`, `bootstrap_not_sandboxed`, `bootstrap_no_writer` */
  sandbox: () => Sandbox;
}

/** What a run would play, made up and nothing run. */
export interface BootstrapDryRun extends Omit<WrittenTasks, "tasks"> {
  agent: string;
  tools: readonly Pick<TaskTool, "name">[];
  tasks: readonly { split: "train" | "held_out"; difficulty: number; tools: readonly string[]; text: string }[];
  isolation: LiveWorld["isolation"];
  iterations: number;
  /** Rollouts of all iterations, at most. */
  rollouts: number;
  maxToolCalls: number;
}

import type { AgentConfig } from "../config.ts";
import { agentSchema } from "../config-agent.ts";
import { nightshiftError } from "../errors.ts";
import type { Run } from "./run-store.ts";

/** What a run's row keeps of the config that it was started with. */
export function planNight({ night }: AgentConfig): { iterations: number; scenarios: number; seed: number; night: AgentConfig["night"] } {
  return { iterations: night.iterations, scenarios: night.scenarios, seed: night.seed, night };
}

/**
 * The config with the night that the run was started with: an upgrade in mid-run changes the nights after it, or half of a run's iterations would be by one config and half by another, its
 * trainer by the first. A run whose row keeps none goes by today's. @throws NightshiftError `run_plan_unknown`
 */
export function byPlan(run: Pick<Run, "id" | "plan"> | null, config: AgentConfig): AgentConfig {
  const kept = run?.plan["night"];
  if (run === null || kept === undefined) return config;
  const parsed = agentSchema.shape.night.safeParse(kept);
  if (parsed.success) return { ...config, night: parsed.data };
  const [issue] = parsed.error.issues;
  throw nightshiftError("run_plan_unknown", {
    run: run.id,
    what: `${["night", ...(issue?.path ?? [])].join(".")}: ${issue?.message ?? "invalid"}`,
  });
}

import { join } from "node:path";
import { AGENT, quickstartConfig } from "../../../deploy/quickstart/settings.ts";
import { parseConfig, type AgentConfig } from "../../../src/config.ts";
import type { LearningWorld } from "./learning-world.ts";

export const ROOT = join(import.meta.dirname, "../../..");

/** The quickstart's agent, served in this world by this model. All worlds and arms have the same hyperparameters. */
export function configOf(world: LearningWorld, options: { baseModel: string; dataDir: string; seed: number }): AgentConfig {
  const { baseModel, dataDir, seed } = options;
  const quickstart = quickstartConfig({ root: ROOT, dataDir, seed, sabotage: null });
  const agents = quickstart["agents"] as Record<string, Record<string, unknown>>;
  const judge = { driver: "scripted", module: world.judge };
  const own = { match: { agentName: world.agent }, model: world.agent, baseModel, tools: world.toolConfigs, judge, pairJudge: judge };
  const config = parseConfig({ ...quickstart, agents: { [world.agent]: { ...agents[AGENT], ...own } } }).agents[world.agent];
  if (config === undefined) throw new Error("the agent that was configured is there");
  // Nobody is held out of the day: held-out customers are others altogether.
  return { ...config, scenario: { ...config.scenario, heldOutShare: 0.05 }, night: { ...config.night, iterations: world.iterations } };
}

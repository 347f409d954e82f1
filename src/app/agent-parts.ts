import { join, resolve } from "node:path";
import type { Digest } from "../artifact/artifact-store.ts";
import type { AgentConfig, Config } from "../config.ts";
import type { Calibrator } from "../reward/calibration/calibrate.ts";
import type { JudgeDeps } from "../reward/judge-client.ts";
import type { OffTape } from "../rollout/off-tape.ts";
import { createAgentDriver } from "../rollout/agent/agent-driver.ts";
import { createRolloutListener } from "../rollout/agent/listener.ts";
import type { AgentDriver } from "../rollout/plan.ts";
import type { GatewayAgent } from "../serving/gateway.ts";
import type { Sandbox } from "../training/bootstrap-plan.ts";
import { baseModelDigest } from "./base-model.ts";
import { createJudges, type Judges } from "./judges.ts";
import { createAgentOffTape } from "./off-tape.ts";
import { openReplicas, type AgentReplicas } from "./replicas.ts";
import { createAgentSandbox } from "./sandbox.ts";
import type { Started } from "./started.ts";

/** One agent as the control service has it, whether this process leads or not. */
export interface AgentParts extends Judges {
  agent: string;
  config: AgentConfig;
  baseDigest: Digest;
  offTape: OffTape;
  /** Null where no judge is configured. */
  calibrator: Calibrator | null;
  /** Runs the agent itself for rollouts; null where none is configured. */
  agentDriver: AgentDriver | null;
  /** What runs without recordings learn in. */
  sandbox: () => Sandbox;
  replicas: AgentReplicas;
}

/**
 * Reads the agent's base model and judges, and connects to its policy servers, or starts embedded ones where it names none.
 * @throws NightshiftError `config_invalid`, `artifact_corrupt`, `judge_key_unreadable`, `judge_module_invalid`, `reward_check_invalid`, `replay_key_unreadable`, `policy_server_unavailable`, `port_taken`, `cluster_unknown`
 */
export async function prepareAgent(agent: string, config: Config, deps: JudgeDeps & { started: Started }): Promise<AgentParts> {
  const own = config.agents[agent];
  if (own === undefined) throw new RangeError(`no agent ${agent}`);
  const agentConfig = { ...own, baseModel: resolve(own.baseModel) };
  const baseDigest = await baseModelDigest(agent, agentConfig, join(config.dataDir, "base-digests.json"));
  const judges = await createJudges(agentConfig, deps);
  const offTape = createAgentOffTape(agent, agentConfig, deps);
  const sandbox = createAgentSandbox(agent, agentConfig, deps);
  const replicas = await openReplicas(agent, agentConfig, config, { ...deps, trainerDirectory: trainerDirectory() });
  const agentDriver = await startAgentDriver(agentConfig, deps);
  return { agent, config: agentConfig, baseDigest, ...judges, offTape, sandbox, agentDriver, replicas };
}

/** The listener that the agent's rollouts talk to, and what runs them. */
async function startAgentDriver(
  { replay }: AgentConfig,
  { env, log, started }: JudgeDeps & { started: Started },
): Promise<AgentDriver | null> {
  if (replay.agent === undefined) return null;
  const listener = createRolloutListener({ ...replay.agent.listen, publicUrl: replay.agent.publicUrl });
  await listener.start();
  started.add("rollout listener", () => listener.close());
  return createAgentDriver(replay.agent, { listener, env, log });
}

/** The agent as a gateway in the same process serves it. */
export function gatewayAgentOf({ agent, config, baseDigest: digest, replicas }: AgentParts): GatewayAgent {
  return {
    agent,
    model: config.model,
    base: { name: config.model, digest },
    ...(replicas.source === null
      ? { upstreams: replicas.current().map(({ url }) => ({ url })) }
      : { upstreams: [], replicas: replicas.source }),
    serviceName: config.match.serviceName ?? agent,
    agentName: config.match.agentName,
  };
}

/** The trainer's package beside this one, from source and from the built tree alike. */
export function trainerDirectory(): string {
  const here = import.meta.dirname;
  return resolve(here, here.includes("/dist/") ? "../../../trainer" : "../../trainer");
}

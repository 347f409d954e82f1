import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { LiveGate } from "../promotion/gate-run.ts";
import { createJudgeClient, type JudgeDeps } from "../reward/judge-client.ts";
import { createCallBudget } from "../rollout/live/call-budget.ts";
import { createLiveWorld } from "../rollout/live/live-world.ts";
import type { LlmClient } from "../serving/llm.ts";
import { heldOutTasks } from "../training/bootstrap.ts";
import type { BootstrapDeps, Sandbox } from "../training/bootstrap-plan.ts";
import type { Run } from "../training/run-store.ts";
import { readTokenFile } from "./token-file.ts";

/**
 * An agent's sandbox, for whoever asks for it: the operator's word that it is one is asked for then, not at the start. Tasks are made up by the simulator's LLM, else by the judge's.
 * @throws NightshiftError `config_invalid`, `judge_key_unreadable`
 */
export function createAgentSandbox(agent: string, { bootstrap, replay, judge }: AgentConfig, deps: JudgeDeps): () => Sandbox {
  const token = readTokenFile(`agents.${agent}.bootstrap.server.tokenFile`, bootstrap?.server.tokenFile) ?? null;
  const { log, env, now } = deps;
  const world = bootstrap === undefined ? null : createLiveWorld(bootstrap, { token, env, log, now, monotonicMs: () => performance.now() });
  const writer = bootstrap === undefined ? null : createWriter({ replay, judge }, deps);
  return () => {
    if (world === null) throw nightshiftError("bootstrap_not_configured", { agent });
    if (bootstrap?.sandboxed !== true) throw nightshiftError("bootstrap_not_sandboxed", { agent });
    if (writer === null) throw nightshiftError("bootstrap_no_writer", { agent });
    return { world, writer };
  };
}

function createWriter({ replay, judge }: Pick<AgentConfig, "replay" | "judge">, deps: JudgeDeps): LlmClient | null {
  if (replay.simulator !== undefined) return createJudgeClient({ ...replay.simulator, driver: "ruler" }, deps);
  return judge?.driver === "ruler" ? createJudgeClient(judge, deps) : null;
}

/** What a gate plays in of a run that had no recordings: its held-out tasks, with as many calls and as much time as its rollouts had. */
export async function liveGateOf(
  run: Run,
  { agent, config }: { agent: string; config: AgentConfig },
  deps: Pick<BootstrapDeps, "sandbox" | "runs" | "database" | "now">,
): Promise<LiveGate> {
  const { world } = deps.sandbox();
  if (config.bootstrap === undefined) throw nightshiftError("bootstrap_not_configured", { agent });
  const { maxCalls, maxMs } = config.bootstrap;
  const budget = createCallBudget({ maxCalls, used: 0, untilMs: deps.now() + maxMs }, deps);
  const { isolation, concurrency } = world;
  const heldOut = await heldOutTasks(run.id, deps);
  return { heldOut, isolation, concurrency, open: (member) => world.open(member, budget), isOpen: () => budget.spent() === null };
}

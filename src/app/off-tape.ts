import { readFileSync } from "node:fs";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { createJudgeClient, type JudgeDeps } from "../reward/judge-client.ts";
import { createLiveReads, type LiveReadsConfig } from "../rollout/live-reads.ts";
import { createOffTape, type OffTape } from "../rollout/off-tape.ts";
import { createSimulator } from "../rollout/simulator/simulator.ts";
import { createSimulatedUser } from "../rollout/user/simulated-user.ts";
import type { LlmClient } from "../serving/llm.ts";

/**
 * What answers an agent's rollouts where no tape does. The simulator is asked through the same client as judges are: its replies are kept by content, and erased
 * with whoever is in them.
 * @throws NightshiftError `judge_key_unreadable`, `replay_key_unreadable`
 */
export function createAgentOffTape(agent: string, { replay }: AgentConfig, deps: JudgeDeps): OffTape {
  const { simulator, liveReads } = replay;
  const llm: LlmClient | null = simulator === undefined ? null : createJudgeClient({ ...simulator, driver: "ruler" }, deps);
  const worded = llm === null || simulator === undefined ? null : { llm, model: simulator.model };
  return createOffTape(agent, {
    simulator: worded === null ? null : createSimulator(worded, deps),
    user: worded === null ? null : createSimulatedUser(worded, deps),
    liveReads: liveReads === undefined ? null : createLiveReads(liveReads, { ...deps, token: readToken(liveReads, deps.env) }),
  });
}

function readToken({ apiKeyFile, apiKeyEnv }: LiveReadsConfig, env: JudgeDeps["env"]): string | null {
  const source = apiKeyFile ?? apiKeyEnv;
  if (source === undefined) return null;
  const refuse = (problem: string, cause?: unknown) => nightshiftError("replay_key_unreadable", { source, problem }, { cause });
  let token: string | undefined;
  try {
    token = (apiKeyFile === undefined ? env[source] : readFileSync(apiKeyFile, "utf8"))?.trim();
  } catch (cause) {
    throw refuse((cause as Error).message, cause);
  }
  if (token === undefined || token === "") throw refuse("it is not set");
  // What is no header value must not come up in an error of the HTTP client, which would quote it.
  if (!/^[\x21-\x7e]+$/.test(token)) throw refuse("it is not one token");
  return token;
}

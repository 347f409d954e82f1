import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { loadRewardCheck, type RewardCheck } from "../reward/independent/check-module.ts";
import { createRulerJudge } from "../reward/judge-ruler.ts";
import { createScriptedJudge } from "../reward/judge-scripted.ts";
import type { JudgeDeps } from "../reward/judge-client.ts";
import type { Judge } from "../reward/judge.ts";
import { createLlmPairJudge } from "../reward/pair-judge-llm.ts";
import { createScriptedPairJudge } from "../reward/pair-judge-scripted.ts";
import type { PairJudge } from "../reward/pair-judge.ts";
import { loadScriptedModule } from "../reward/scripted-module.ts";

export interface Judges {
  judge: Judge;
  pairJudge: PairJudge | null;
  /** What is weighed in beside the judge; null where none is configured. */
  rewardCheck: RewardCheck | null;
}

/**
 * An agent's judges. Without a configured one, captures go on and every run is refused with the reason.
 * @throws NightshiftError `judge_key_unreadable`, `judge_module_invalid`, `reward_check_invalid`
 */
export async function createJudges(config: AgentConfig, deps: JudgeDeps): Promise<Judges> {
  const { check } = config.reward;
  return {
    judge: await createJudge(config.judge, deps),
    pairJudge: await createPairJudge(config.pairJudge, deps),
    rewardCheck: check === undefined ? null : await loadRewardCheck(check),
  };
}

async function createJudge(config: AgentConfig["judge"], deps: JudgeDeps): Promise<Judge> {
  if (config === undefined) {
    const error = nightshiftError("run_refused", { agent: "", problem: "no judge is configured" });
    return { score: () => Promise.resolve({ status: "rejected", error }) };
  }
  return config.driver === "ruler" ? createRulerJudge(config, deps) : createScriptedJudge(await loadScriptedModule(config.module));
}

async function createPairJudge(config: AgentConfig["pairJudge"], deps: JudgeDeps): Promise<PairJudge | null> {
  if (config === undefined) return null;
  return config.driver === "ruler" ? createLlmPairJudge(config, deps) : createScriptedPairJudge(await loadScriptedModule(config.module));
}

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { loadRewardCheck, type RewardCheck } from "../reward/independent/check-module.ts";
import type { Calibrator } from "../reward/calibration/calibrate.ts";
import { rulerIdentity, scriptedIdentity } from "../reward/calibration/identity.ts";
import { createRulerPasses, createScriptedPasses } from "../reward/calibration/passes.ts";
import { createRulerJudge } from "../reward/judge-ruler.ts";
import { createScriptedJudge } from "../reward/judge-scripted.ts";
import { createJudgeClient, type JudgeDeps } from "../reward/judge-client.ts";
import type { Judge } from "../reward/judge.ts";
import { createLlmPairJudge } from "../reward/pair-judge-llm.ts";
import { createScriptedPairJudge } from "../reward/pair-judge-scripted.ts";
import type { PairJudge } from "../reward/pair-judge.ts";
import { loadScriptedModule } from "../reward/scripted-module.ts";

export interface Judges {
  judge: Judge;
  pairJudge: PairJudge | null;
  /** Looks over the judge's shoulder; null where none is configured. */
  auditJudge: Judge | null;
  /** What is weighed in beside the judge; null where none is configured. */
  rewardCheck: RewardCheck | null;
  /** Null where no judge is configured. */
  calibrator: Calibrator | null;
}

/**
 * An agent's judges. Without a configured one, captures go on and every run is refused with the reason.
 * @throws NightshiftError `judge_key_unreadable`, `judge_module_invalid`, `reward_check_invalid`
 */
export async function createJudges(config: AgentConfig, deps: JudgeDeps): Promise<Judges> {
  const calibrator = config.judge === undefined ? null : await createCalibrator(config.judge, deps);
  const { check } = config.reward;
  return {
    judge: calibrator?.judge ?? NO_JUDGE,
    pairJudge: await createPairJudge(config.pairJudge, deps),
    auditJudge: await createAuditJudge(config.judge?.audit, deps),
    rewardCheck: check === undefined ? null : await loadRewardCheck(check),
    calibrator,
  };
}

const NO_JUDGE: Judge = {
  score: () =>
    Promise.resolve({ status: "rejected", error: nightshiftError("run_refused", { agent: "", problem: "no judge is configured" }) }),
};

async function createCalibrator(config: NonNullable<AgentConfig["judge"]>, deps: JudgeDeps): Promise<Calibrator> {
  if (config.driver === "ruler") {
    const passes = createRulerPasses(createJudgeClient(config, deps));
    return { judge: createRulerJudge(config, deps), passes, identity: rulerIdentity(config) };
  }
  const module = await loadScriptedModule(config.module);
  const identity = scriptedIdentity(module, readFileSync(resolve(config.module), "utf8"));
  return { judge: createScriptedJudge(module), passes: createScriptedPasses(module), identity };
}

async function createPairJudge(config: AgentConfig["pairJudge"], deps: JudgeDeps): Promise<PairJudge | null> {
  if (config === undefined) return null;
  return config.driver === "ruler" ? createLlmPairJudge(config, deps) : createScriptedPairJudge(await loadScriptedModule(config.module));
}

async function createAuditJudge(config: NonNullable<AgentConfig["judge"]>["audit"], deps: JudgeDeps): Promise<Judge | null> {
  if (config === undefined) return null;
  if (config.driver === "scripted") return createScriptedJudge(await loadScriptedModule(config.module));
  return createRulerJudge(config, deps, { role: "audit", rubric: config.rubric });
}

import type { Objective } from "../config-stages.ts";
import type { AgentConfig } from "../config.ts";
import type { TrainerConfig } from "./batch.ts";

/** How far a ratio may leave 1: a token's as in DAPO (arXiv 2503.14476); a sequence's, which is a mean over its tokens, as in GSPO (arXiv 2507.18071). */
const CLIPS = {
  cispo: { clip_low: 0.2, clip_high: 0.28 },
  grpo: { clip_low: 0.2, clip_high: 0.28 },
  gspo: { clip_low: 3e-4, clip_high: 4e-4 },
} as const;

/** What an iteration, counted from 1, learns by. The trainer's `objective_of` is the other side. */
export function objectiveOf(stages: readonly Objective[], iteration: number): Objective {
  return stages[Math.min(iteration, stages.length) - 1] ?? "grpo";
}

/**
 * run.json of one night. Pure.
 * @param start The adapter the night continues from, null on the base model.
 */
export function trainerConfig(options: {
  runId: string;
  agent: string;
  config: AgentConfig;
  base: { path: string; digest: string };
  start: { path: string; digest: string } | null;
}): TrainerConfig {
  const { night } = options.config;
  const { form, tisCap, maskLow, maskHigh } = night.correction;
  return {
    version: 1,
    run_id: options.runId,
    agent: options.agent,
    base_model: options.base,
    start_adapter: options.start,
    lora: { rank: night.lora.rank, alpha: night.lora.alpha, dropout: 0, target_modules: "all-linear" },
    optimizer: { lr: night.learningRate, weight_decay: 0, clip_norm: 1, warmup_steps: 0 },
    loss: {
      kind: night.loss,
      ratio_cap: night.ratioCap,
      ...CLIPS[night.loss],
      kl_beta: night.klBeta,
      correction: form === "three_policy" ? { tis_cap: tisCap, mask_low: maskLow, mask_high: maskHigh } : null,
    },
    advantage: { std_floor: 0.1, normalization: night.advantage },
    seed: night.seed,
    iterations: night.iterations,
    minibatches_per_batch: night.minibatches,
    micro_batch_tokens: 16_384,
    gradient_checkpointing: night.gradientCheckpointing,
    checkpoint_every_steps: night.minibatches,
    batch_deadline_s: night.batchDeadlineMs / 1_000,
    heartbeat_interval_s: Math.min(5, night.heartbeatTimeoutMs / 4_000),
    logprob_gate: { max_mean_abs_delta: night.maxLogprobDelta, max_growth: night.maxLogprobGrowth },
    dtype: "float32",
    threads: night.threads,
    probe: { min_tokens: 256 },
    sabotage: night.sabotage ?? null,
    ...stagesOf(night),
  };
}

/** The stages, and of their settings those that are used. */
function stagesOf({ stages, sft, dpo }: AgentConfig["night"]): Pick<TrainerConfig, "stages" | "sft" | "dpo"> {
  return {
    stages: [...stages],
    ...(stages.includes("sft") ? { sft: { lr: sft.learningRate, min_reward: sft.minReward, members_per_group: sft.membersPerGroup } } : {}),
    ...(stages.includes("dpo") ? { dpo: { lr: dpo.learningRate, beta: dpo.beta, min_gap: dpo.minGap } } : {}),
  };
}

import { z } from "zod";

/** The part of the config tree that says what the iterations of a night learn by. */
const objectives = ["sft", "grpo", "dpo"] as const;
export type Objective = (typeof objectives)[number];

/** Fields of `night`. */
export const stageFields = {
  stages: z
    .array(z.enum(objectives))
    .min(1)
    .default(["grpo"])
    .describe(
      "What the first, the second, … iteration learns by; the last entry holds for all that follow. grpo: every attempt, by its advantage (`loss`); sft: the best attempts of a group as examples, the usual warm start; dpo: the better attempt of a pair against the worse.",
    ),
  sft: z
    .strictObject({
      learningRate: z.number().positive().default(5e-5).describe("AdamW learning rate of iterations that learn examples."),
      minReward: z.number().default(0.5).describe("An example's reward is at least this, and above its group's mean."),
      membersPerGroup: z.int().positive().default(4).describe("Examples of a group at most, the best first."),
    })
    .prefault({}),
  dpo: z
    .strictObject({
      learningRate: z.number().positive().default(1e-5).describe("AdamW learning rate of iterations that learn pairs."),
      beta: z
        .number()
        .positive()
        .default(0.1)
        .describe("DPO's β: the larger it is, the sooner a pair counts as learned and pulls no more."),
      minGap: z.number().min(0).default(0.1).describe("A pair's rewards are at least this far apart."),
    })
    .prefault({}),
};

/** Whether every stage has an iteration. */
export function hasRoomForStages({ stages, iterations }: { stages: readonly Objective[]; iterations: number }): boolean {
  return stages.length <= iterations;
}

export const STAGES_WITHOUT_ROOM = { path: ["stages"], error: "every stage takes an iteration: name no more of them than `iterations`" };

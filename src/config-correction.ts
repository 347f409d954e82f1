import { z } from "zod";

/** How a night corrects for what sampled its rollouts being another implementation than what trains (`agents.<name>.night.correction`). */
export const correctionSchema = z.strictObject({
  form: z
    .enum(["two_policy", "three_policy"])
    .default("two_policy")
    .describe(
      "two_policy: the importance ratio is against the sampler. three_policy (decoupled PPO): it is against the trainer's own policy before the batch's first step, times a truncated weight for the gap between that and the sampler; sequences with too wide a gap leave the loss. Costs one more forward pass.",
    ),
  tisCap: z.number().positive().default(2).describe("three_policy: cap on a token's weight."),
  maskLow: z
    .number()
    .positive()
    .max(1)
    .default(0.99)
    .describe(
      "three_policy: a sequence whose trainer and sampler differ by a smaller factor per token, in the geometric mean, leaves the loss.",
    ),
  maskHigh: z.number().min(1).default(1.01).describe("three_policy: and one where the factor is larger."),
});

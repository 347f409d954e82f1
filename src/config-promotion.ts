import { z } from "zod";

/** The parts of the config tree that say when a candidate reaches everybody: the offline gate (`agents.<name>.gate`) and the canary. */
export const gateSchema = z.strictObject({
  enabled: z.boolean().default(true).describe("Off: candidates go to the canary ungated, and every output says so."),
  mode: z.enum(["improve", "non-inferior"]).default("improve").describe("What the held-out suite must show against stable."),
  alpha: z.number().positive().max(0.5).default(0.05).describe("Error level of the gate."),
  margin: z.number().positive().max(0.5).default(0.06).describe("δ of the non-inferiority test."),
  maxScenarios: z.int().positive().default(200).describe("Held-out scenarios at most."),
  seedsPerScenario: z.int().positive().default(1).describe("Pairs played per scenario; one X each, their mean."),
  maxMaskedShare: z.number().positive().max(1).default(0.2).describe("Above this masked share the gate is insufficient."),
  kl: z
    .strictObject({
      rollouts: z
        .int()
        .min(0)
        .default(32)
        .describe(
          "The candidate's rollouts that are scored by candidate, stable and base, one `prompt_logprobs` call each. 0: none, and no cap holds.",
        ),
      maxToStable: z
        .number()
        .positive()
        .nullable()
        .default(0.2)
        .describe("Mean log π_candidate − log π_stable above which the candidate is refused. null: it is only reported."),
      maxToBase: z
        .number()
        .positive()
        .nullable()
        .default(0.5)
        .describe("Likewise from the base model, which nights move away from together."),
    })
    .prefault({})
    .describe("How far a candidate may have moved, in nats per token that it sampled itself in the gate, at temperature 1."),
});

export const canarySchema = z.strictObject({
  mode: z.enum(["improve", "non-inferior"]).default("non-inferior").describe("What the canary must show."),
  delta: z.number().min(0).max(0.5).default(0.05).describe("δ: the largest loss that may still be promoted (0 in mode improve)."),
  alpha: z.number().positive().max(0.5).default(0.05).describe("Error level of promotion and of rollback."),
  lambda0: z.number().positive().default(0.06).describe("Base bet: planned gap / (2(s1² + s0²))."),
  ramp: z
    .array(z.strictObject({ weight: z.number().min(0.01).max(0.99), untilUnits: z.int().positive().optional() }))
    .min(1)
    .default([{ weight: 0.05, untilUnits: 400 }, { weight: 0.2, untilUnits: 1_000 }, { weight: 0.5 }])
    .describe("Candidate weight by units processed."),
  maxUnits: z.int().positive().default(10_000).describe("Units at which an undecided canary expires."),
  lookEvery: z.int().positive().default(1).describe("Units between looks."),
  dwellMs: z.int().min(0).default(86_400_000).describe("Shortest time before a promotion."),
  deadlineMs: z.int().positive().default(604_800_000).describe("Time after which an undecided canary expires."),
  minCandidateUnits: z.int().min(0).default(20).describe("Exposure floor of the guardrails: candidate units before a promotion."),
});

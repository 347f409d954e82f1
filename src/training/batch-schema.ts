import { z } from "zod";

/**
 * The contract with the trainer: run.json, a group line, a batch's manifest. Token ids, never text. The trainer has its own strict reader; the JSON
 * Schemas below `trainer/nightshift_trainer/schema/` are made from here, and both languages are tested on `test/fixtures/batch`.
 */
const text = z.string().min(1);
const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const tokenIds = z.array(z.int().min(0)).min(1);
/** A logprob of an almost certain token may round to just above 0. */
const LOGPROB_SLACK = 1e-3;

const callSchema = z
  .strictObject({
    prompt_token_ids: tokenIds,
    completion_token_ids: tokenIds,
    logprobs: z
      .array(z.number().max(LOGPROB_SLACK))
      .min(1)
      .describe(
        "The sampler's own, after temperature; one per completion token. Below -104 (a probability of 0 in float32) nothing is sampled: such a member stays in the baseline and leaves the loss.",
      ),
    finish_reason: text,
    adapter_digest: text.describe("What sampled it; the base model's digest where no adapter did."),
    sampling: z.strictObject({
      temperature: z.number().positive(),
      top_p: z.literal(1, { error: "only top_p 1 samples the policy's own distribution" }),
      top_k: z.literal([0, -1], { error: "only top_k off (0 or -1) samples the policy's own distribution" }),
      min_p: z.literal(0, { error: "only min_p 0 samples the policy's own distribution" }),
    }),
  })
  .refine((call) => call.logprobs.length === call.completion_token_ids.length, { error: "one logprob per completion token" });

const memberSchema = z
  .strictObject({
    rollout_id: text,
    reward: z.number().optional().describe("Absent exactly when the member is masked."),
    masked: z.boolean().optional().describe("Replay's or infrastructure's fault: in no statistic."),
    excluded_from_loss: z.boolean().optional().describe("Stays in the baseline, leaves the loss."),
    staleness: z.int().min(0).describe("Adapter versions between the one that sampled and the one that is trained."),
    calls: z.array(callSchema),
  })
  .refine((member) => (member.masked === true) === (member.reward === undefined), { error: "exactly the masked members have no reward" })
  .refine((member) => member.calls.length > 0 || member.masked === true || member.excluded_from_loss === true, {
    error: "a member in the loss needs calls",
  })
  // What the refinements say, for readers of the JSON Schema (which cannot compare two lengths).
  .meta({
    if: { properties: { masked: { const: true } }, required: ["masked"] },
    // oxlint-disable-next-line unicorn/no-thenable -- JSON Schema's own keyword
    then: { not: { required: ["reward"] } },
    else: {
      required: ["reward"],
      if: { not: { properties: { excluded_from_loss: { const: true } }, required: ["excluded_from_loss"] } },
      // oxlint-disable-next-line unicorn/no-thenable -- JSON Schema's own keyword
      then: { properties: { calls: { minItems: 1 } } },
    },
  });

/** One group; the anchor of its judge is never in it. */
export const groupLineSchema = z.strictObject({
  group_id: text,
  scenario_id: text,
  weight: z.number().min(0),
  members: z.array(memberSchema).min(1),
});
export type GroupLine = z.infer<typeof groupLineSchema>;

export const batchManifestSchema = z.strictObject({
  version: z.literal(1),
  iteration: z.int().min(1),
  groups: z.int().min(0),
  members: z.int().min(0),
  files: z.record(z.string(), z.strictObject({ sha256: digest, bytes: z.int().min(0) })),
});
export type BatchManifest = z.infer<typeof batchManifestSchema>;

const located = z.strictObject({ path: text, digest: text }).describe("A directory, relative to the run directory or absolute.");

const runFields = z.strictObject({
  version: z.literal(1),
  run_id: text,
  agent: text,
  base_model: located,
  start_adapter: located.nullable(),
  lora: z.strictObject({
    rank: z.int().min(1).max(512),
    alpha: z.number().positive(),
    dropout: z.number().min(0).lt(1),
    target_modules: z.literal("all-linear"),
  }),
  optimizer: z.strictObject({
    lr: z.number().positive(),
    weight_decay: z.number().min(0),
    clip_norm: z.number().positive(),
    warmup_steps: z.int().min(0),
  }),
  loss: z.strictObject({
    kind: z.enum(["cispo", "grpo", "gspo"]),
    ratio_cap: z.number().positive(),
    clip_low: z.number().positive().max(1),
    clip_high: z.number().positive(),
    kl_beta: z.number().min(0),
    constant_length: z.int().min(1).nullable().optional(),
    correction: z
      .strictObject({ tis_cap: z.number().positive(), mask_low: z.number().positive().max(1), mask_high: z.number().min(1) })
      .nullable()
      .optional()
      .describe("The three-policy form. Absent: the ratio is against the sampler."),
  }),
  advantage: z.strictObject({ std_floor: z.number().positive(), normalization: z.enum(["group_std", "batch_std", "none"]) }),
  seed: z.int().min(0),
  iterations: z.int().min(1),
  minibatches_per_batch: z.int().min(1).max(4),
  micro_batch_tokens: z.int().min(1),
  gradient_checkpointing: z.boolean().optional(),
  checkpoint_every_steps: z.int().min(1),
  batch_deadline_s: z.number().positive(),
  heartbeat_interval_s: z.number().positive(),
  logprob_gate: z.strictObject({ max_mean_abs_delta: z.number().positive(), max_growth: z.number().min(1).nullable().optional() }),
  dtype: z.enum(["float32", "bfloat16"]),
  threads: z.int().min(1),
  probe: z.strictObject({ min_tokens: z.int().min(1) }),
  sabotage: z.enum(["shuffle_rewards", "invert_rewards"]).nullable().optional().describe("Fault injection: a bad adapter on purpose."),
  stages: z
    .array(z.enum(["sft", "grpo", "dpo"]))
    .min(1)
    .optional()
    .describe("What iteration 1, 2, … learns by; the last entry holds for all that follow. Absent: grpo. Not more than iterations."),
  sft: z
    .strictObject({ lr: z.number().positive(), min_reward: z.number(), members_per_group: z.int().min(1) })
    .optional()
    .describe("Examples: a group's best members above its mean. Present where a stage is sft."),
  dpo: z
    .strictObject({ lr: z.number().positive(), beta: z.number().positive(), min_gap: z.number().min(0) })
    .optional()
    .describe("Pairs: members of a group whose rewards are this far apart. Present where a stage is dpo."),
});
/** A JSON Schema cannot say what the refinements do. */
export const runFileSchema = runFields
  .refine(({ stages = [], iterations }) => stages.length <= iterations, { path: ["stages"], error: "more stages than iterations" })
  .refine(({ stages, sft }) => sft !== undefined || stages?.includes("sft") !== true, { path: ["sft"], error: "a stage needs it" })
  .refine(({ stages, dpo }) => dpo !== undefined || stages?.includes("dpo") !== true, { path: ["dpo"], error: "a stage needs it" });
export type TrainerConfig = z.infer<typeof runFileSchema>;

/** The JSON Schema files of the contract: path below the repository root, and whole text. `npm run generate` writes them. */
export function batchSchemaFiles(): { path: string; text: string }[] {
  const schemas = { "group-line": groupLineSchema, "batch-manifest": batchManifestSchema, run: runFileSchema };
  return Object.entries(schemas).map(([name, schema]) => ({
    path: `trainer/nightshift_trainer/schema/${name}.json`,
    text: `${JSON.stringify(z.toJSONSchema(schema), null, 2)}\n`,
  }));
}

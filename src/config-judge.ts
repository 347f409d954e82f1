import { z } from "zod";

/** The parts of the config tree that say who scores: the judge of groups, the judge of the gate's pairs, and what is weighed in beside the judge. */
const price = (what: string) =>
  z
    .number()
    .min(0)
    .optional()
    .describe(`Price of a million ${what} tokens, in the currency that you count in. Unset: money is not counted.`);

const llmFields = {
  driver: z.literal("ruler"),
  baseUrl: z.url().optional().describe("OpenAI-compatible endpoint of the judge."),
  model: z.string().describe("Judge model."),
  apiKeyFile: z.string().optional().describe("File with the judge's API key."),
  apiKeyEnv: z.string().optional().describe("Environment variable with the judge's API key."),
  timeoutMs: z.int().positive().default(60_000).describe("Longest wait for one reply, to its last byte."),
  concurrency: z.int().positive().default(8).describe("Requests in flight."),
  inputPricePerMillion: price("input"),
  outputPricePerMillion: price("output"),
  maxTokensPerRun: z
    .int()
    .positive()
    .default(5_000_000)
    .describe("Token budget of one run, kept over restarts; when spent, the run goes on with what is scored."),
  maxCostPerRun: z
    .number()
    .positive()
    .optional()
    .describe("Money budget of one run, in the currency of the two prices, which it needs. Unset: tokens alone are bounded."),
} as const;

const scriptedFields = {
  driver: z.literal("scripted"),
  module: z.string().describe("Module with `scoreGroup` and `comparePair`. For tests and the quickstart; labelled as scripted everywhere."),
} as const;

const anchorField = {
  anchor: z
    .boolean()
    .default(false)
    .describe(
      "Show the judge the recorded conversation among a group's members, unmarked, in a place drawn by seed. Its score is kept; it is in no mean and trains nothing.",
    ),
} as const;

const rejudgeField = {
  rejudgeGroups: z
    .int()
    .min(0)
    .max(100)
    .default(2)
    .describe(
      "Groups of a run's first iteration, drawn by seed, that the judge is asked about again, in another order: how far it is from itself.",
    ),
} as const;

const trustFields = {
  minAgreement: z
    .number()
    .min(0)
    .max(1)
    .default(0.7)
    .describe("Pairwise agreement with people (`nightshift judge calibrate`) below which runs are refused."),
  allowLowAgreement: z
    .boolean()
    .default(false)
    .describe("Runs although the judge agrees less than that. Every output says so, and nothing is promoted on its own."),
} as const;

const auditFields = {
  groups: z.int().min(0).max(1_000).default(20).describe("Groups of a run that trained, drawn by seed, that it scores."),
  minAgreement: z
    .number()
    .min(0)
    .max(1)
    .default(0.7)
    .describe(
      "Pairwise agreement of the two below which an alarm is raised, where all of its 95 % interval is below: the candidate waits for an operator.",
    ),
} as const;

type Priced = { maxCostPerRun?: number | undefined; inputPricePerMillion?: number | undefined; outputPricePerMillion?: number | undefined };
const isPriced = (judge: Priced): boolean =>
  judge.maxCostPerRun === undefined || (judge.inputPricePerMillion !== undefined && judge.outputPricePerMillion !== undefined);
const NEEDS_PRICES = { path: ["maxCostPerRun"], error: "needs inputPricePerMillion and outputPricePerMillion" };

const auditField = {
  audit: z
    .discriminatedUnion("driver", [
      z
        .strictObject({
          ...llmFields,
          rubric: z
            .enum(["ruler", "outcome"])
            .default("outcome")
            .describe("`ruler` asks what the judge of rewards is asked; `outcome` only whether what was needed was truly done."),
          ...auditFields,
        })
        .refine(isPriced, NEEDS_PRICES),
      z.strictObject({ ...scriptedFields, ...auditFields }),
    ])
    .optional()
    .describe(
      "A second judge, or the same model under another rubric, that scores a sample of a run's groups when they have trained: how far it puts attempts in the same order. It rewards nothing. Unset: none.",
    ),
} as const;

export const judgeSchema = z.discriminatedUnion("driver", [
  z.strictObject({ ...llmFields, ...anchorField, ...rejudgeField, ...trustFields, ...auditField }).refine(isPriced, NEEDS_PRICES),
  z.strictObject({ ...scriptedFields, ...anchorField, ...trustFields, ...auditField }),
]);

export const pairJudgeSchema = z.discriminatedUnion("driver", [
  z.strictObject(llmFields).refine(isPriced, NEEDS_PRICES),
  z.strictObject(scriptedFields),
]);

/** What an LLM judge is configured with, whatever it judges. */
export type LlmJudgeConfig = Extract<z.output<typeof pairJudgeSchema>, { driver: "ruler" }>;

export const rewardSchema = z
  .strictObject({
    check: z
      .string()
      .optional()
      .describe("Module with `checkAttempt(attempt)`: a number from 0 to 1 for one attempt's transcript, or null where it cannot tell."),
    combine: z
      .enum(["replace", "add", "min"])
      .default("min")
      .describe(
        "What the check does to the judge's score: takes its place, is added to it `weight` times, or bounds it from above. Both are kept. Where it cannot tell of every member of a group, the judge's scores stand alone there.",
      ),
    weight: z.number().positive().default(1).describe("Of the check, where it is added."),
    feedback: z
      .string()
      .optional()
      .describe(
        "Name of the feedback (true, false or 0 to 1) whose newest value bounds the reward of members that are the recorded conversation over again. It says nothing of others.",
      ),
  })
  .prefault({})
  .describe("Independent rewards beside the judge's. None unless named.");

export type RewardConfig = z.output<typeof rewardSchema>;

import { z } from "zod";
import { bootstrapSchema } from "./config-bootstrap.ts";
import { canarySchema, gateSchema } from "./config-promotion.ts";
import { correctionSchema } from "./config-correction.ts";
import { policyServersSchema } from "./config-policy-servers.ts";
import { replaySchema } from "./config-replay.ts";
import { routerSchema } from "./config-router.ts";
import { judgeSchema, pairJudgeSchema, rewardSchema } from "./config-judge.ts";
import { hasRoomForStages, STAGES_WITHOUT_ROOM, stageFields } from "./config-stages.ts";

/** The part of the config tree that belongs to one agent. */
const toolProfileSchema = z.strictObject({
  class: z
    .enum(["pure", "constant", "read", "write", "unknown"])
    .optional()
    .describe(
      "What a call does; unknown is treated as a write. Unset: by MCP annotations, else by the HTTP verb of its calls, else unknown.",
    ),
  argumentRoles: z
    .record(z.string(), z.enum(["key", "filter", "freeText", "clock", "nonce"]))
    .optional()
    .describe("Role of each argument path. Paths that are not listed are learned."),
  entityPaths: z
    .array(z.string())
    .optional()
    .describe(
      "Entities a call touches, as templates over its arguments: `order:{order_id}`. Unset: learned, and then no read depends on its entities alone.",
    ),
  volatileResultPaths: z.array(z.string()).optional().describe("Result paths that differ from call to call (ids, times). Unset: learned."),
  errorPath: z
    .string()
    .optional()
    .describe("Result path whose presence marks the result as an error. Unset: `error`, or for a read what its recorded errors show."),
  implementation: z
    .string()
    .optional()
    .describe(
      "Module whose default export answers a pure tool's calls in replay: `(arguments) => result`, with nothing but its arguments to go by.",
    ),
  freshnessMs: z.int().positive().optional().describe("Age above which another conversation's tape does not answer this tool."),
  learn: z
    .boolean()
    .optional()
    .describe(
      "Whether annotations, verbs and tapes may fill in what is unset here (unset: yes). Tapes that contradict a class demote it either way.",
    ),
});

const scenarioSchema = z.strictObject({
  heldOutShare: z.number().min(0.05).max(0.9).default(0.2).describe("Share of users whose conversations only ever evaluate."),
  heldOutClusterShare: z
    .number()
    .min(0)
    .max(0.5)
    .default(0.05)
    .describe(
      "Share of clusters of like requests that never train. A cluster with more than this share of the conversations is never chosen; what was chosen stays so. 0: none.",
    ),
  evaluationWindow: z
    .strictObject({
      minMs: z
        .int()
        .min(0)
        .default(86_400_000)
        .describe("Least span that the window covers; less than a day shows only a part of its course."),
      minConversations: z
        .int()
        .min(0)
        .default(200)
        .describe(
          "Least conversations of evaluation users in it: what a gate has to decide by. 0: no window, evaluation takes conversations of any age.",
        ),
      maxTrainLoss: z
        .number()
        .min(0)
        .max(1)
        .default(0.25)
        .describe(
          "Largest share of the training conversations that may wait for a later night because they lie in it. A window that costs more is left out.",
        ),
    })
    .prefault({})
    .describe("The newest conversations, which only evaluate tonight: the gate asks about what came after everything that trained."),
  countUnknownSubjects: z
    .boolean()
    .default(true)
    .describe(
      "Whether a conversation of nobody known counts as a user of its own towards minUsersPerCluster. Off: such conversations train only in clusters of enough known users.",
    ),
  transferTools: z
    .array(z.string())
    .default([])
    .describe(
      "Tools that hand a conversation over to a person, beside those whose name says so (`escalate`, `handoff`, `transfer_to_agent`): such conversations are preferred.",
    ),
  quarantineMs: z.int().min(0).default(172_800_000).describe("Age that a conversation must reach before it is used."),
  maxPerCluster: z.int().positive().default(4).describe("Scenarios taken from one cluster of same-task conversations."),
  minUsersPerCluster: z.int().positive().default(3).describe("Distinct users that a cluster needs before it trains."),
  maxShareOfRunPerUser: z
    .number()
    .positive()
    .max(1)
    .default(0.01)
    .describe("Largest share of a run's scenarios from one user (at least one is always allowed)."),
});

const nightFields = z.strictObject({
  iterations: z.int().positive().default(4).describe("Rounds of roll out, judge, batch, train."),
  scenarios: z.int().positive().default(64).describe("Scenarios of one iteration."),
  groupSize: z.int().min(3).default(8).describe("Members of a group."),
  probe: z
    .strictObject({
      members: z
        .int()
        .min(0)
        .max(8)
        .default(2)
        .describe("Members played of each candidate; they are members of its group, should it be chosen. Less than two: no probe."),
      scenarios: z
        .int()
        .positive()
        .default(96)
        .describe("Candidates probed at most. Not more than `scenarios`: nothing to choose from, no probe."),
    })
    .prefault({})
    .describe(
      "Before the first iteration: a small group of each candidate that nobody has rolled out yet. Those whose members all did the same come last.",
    ),
  minSpread: z.number().positive().default(0.05).describe("A group with a smaller reward deviation has no signal."),
  judgeDeviation: z
    .number()
    .min(0)
    .default(0)
    .describe("The judge's own repeat deviation, at least; a group needs 1.5 times it. What was measured counts where it is more."),
  seed: z.int().default(1).describe("Seed of the run."),
  batchDeadlineMs: z.int().positive().default(3_600_000).describe("How long the trainer waits for a batch."),
  heartbeatTimeoutMs: z.int().positive().default(120_000).describe("Silence after which the trainer counts as stuck."),
  lora: z
    .strictObject({
      rank: z.int().positive().default(16).describe("LoRA rank."),
      alpha: z.number().positive().default(32).describe("LoRA alpha."),
    })
    .prefault({}),
  learningRate: z.number().positive().default(2e-5).describe("AdamW learning rate of iterations by grpo."),
  ...stageFields,
  minibatches: z.int().min(1).max(4).default(2).describe("Optimiser steps per batch."),
  loss: z
    .enum(["cispo", "grpo", "gspo"])
    .default("cispo")
    .describe("cispo caps a token's importance ratio, grpo clips it, gspo clips the ratio of a whole sequence."),
  advantage: z
    .enum(["group_std", "batch_std", "none"])
    .default("group_std")
    .describe(
      "What a member's distance from its group's mean reward is divided by: the group's deviation, the batch's, or nothing (Dr. GRPO).",
    ),
  ratioCap: z.number().positive().default(5).describe("CISPO's cap on the importance ratio."),
  klBeta: z.number().min(0).default(1e-3).describe("Weight of KL to the base, inside the advantage."),
  correction: correctionSchema.prefault({}).describe("Off-policy correction."),
  maxLogprobDelta: z.number().positive().default(0.05).describe("A batch whose mean |trainer − sampler| logprob exceeds this is refused."),
  maxLogprobGrowth: z
    .number()
    .min(1)
    .default(3)
    .describe("Nothing is learned from a later batch above so many times what the night's first batch showed."),
  gradientCheckpointing: z
    .boolean()
    .default(false)
    .describe(
      "Compute activations again in the backward pass: a third more time, a fraction of the memory. On for models of billions of weights.",
    ),
  threads: z.int().positive().default(1).describe("CPU threads of a local trainer."),
  sabotage: z
    .enum(["shuffle_rewards", "invert_rewards"])
    .optional()
    .describe("Fault injection: trains a bad adapter on purpose. Loud everywhere."),
});
const nightSchema = nightFields.refine(hasRoomForStages, STAGES_WITHOUT_ROOM);

export const agentSchema = z.strictObject({
  tenant: z.string().default("default").describe("Tenant that owns this agent."),
  match: z
    .strictObject({
      serviceName: z.string().optional().describe("Equals the resource attribute service.name."),
      agentName: z.string().optional().describe("Equals gen_ai.agent.name."),
    })
    .prefault({})
    .describe("Which telemetry is this agent's. Empty: everything of the tenant."),
  model: z.string().describe("Public model name that the agent asks for."),
  baseModel: z.string().describe("Directory of the base model's weights, tokenizer and chat template."),
  baseModelDigest: z
    .string()
    .regex(/^sha256:[0-9a-f]{64}$/, "not a digest as `nightshift base` prints it")
    .optional()
    .describe(
      "What the base model is, as `nightshift base <directory>` says: no process but the trainer reads its weights then. Unset: computed from `baseModel`.",
    ),
  policyServers: policyServersSchema,
  embeddedReplicas: z.int().positive().max(16).default(1).describe("Embedded servers that `up` starts where policyServers is empty."),
  sampling: z
    .strictObject({
      temperature: z.number().min(0).max(2).default(0.7),
      topP: z.number().positive().max(1).default(1),
      maxTokens: z.int().positive().default(512),
    })
    .prefault({})
    .describe("Production's sampling, for gate replays."),
  outcome: z
    .strictObject({
      feedback: z.string().default("task_success").describe("Feedback name that is the canary's outcome Y."),
      horizonMs: z
        .int()
        .positive()
        .default(3_600_000)
        .describe("How long an outcome may take after the unit's last answer; then it is missing."),
    })
    .prefault({}),
  tools: z.record(z.string(), toolProfileSchema).default({}).describe("Tool profiles by tool name."),
  judge: judgeSchema.optional().describe("Judge of trajectory groups. Unset: nights are refused with the reason."),
  pairJudge: pairJudgeSchema.optional().describe("Judge of the gate's pairs; another model than the judge."),
  reward: rewardSchema,
  requireCalibration: z.boolean().default(true).describe("An uncalibrated judge trains, but nothing is promoted on its own."),
  scenario: scenarioSchema.prefault({}),
  replay: replaySchema.prefault({}),
  bootstrap: bootstrapSchema
    .optional()
    .describe("A sandboxed MCP server to learn against where there are no recordings yet: `nightshift bootstrap`."),
  night: nightSchema.prefault({}),
  gate: gateSchema.prefault({}),
  router: routerSchema,
  canary: canarySchema.prefault({}),
});

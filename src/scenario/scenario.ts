import { z } from "zod";
import { messageSchema } from "../trace/message.ts";

/** Why a scenario was picked: hints that its conversation went wrong, how it fared before, or the draw. */
export const signalSchema = z.enum([
  "negative_feedback",
  "tool_error",
  "cut_off",
  "transfer",
  "user_repeats",
  "agent_repeats",
  "retry",
  "slow",
  "mixed_before",
  "untried",
  "recent",
  "random",
]);
export type Signal = z.infer<typeof signalSchema>;

/** A situation to replay: where a recorded conversation started, and the tapes that may answer it. */
export const scenarioSchema = z.object({
  id: z.string(),
  tenant: z.string(),
  agent: z.string(),
  /** `bootstrap`: made up from a tool list; trajectory, conversation and subject then name the task alone. Missing: recorded. */
  origin: z.enum(["recorded", "bootstrap"]).optional(),
  /** Of a made-up one: from 1 to 5, and the tools that it should take. */
  task: z.object({ difficulty: z.int(), tools: z.array(z.string()) }).optional(),
  trajectoryId: z.string(),
  trajectoryVersion: z.int(),
  conversationId: z.string(),
  subject: z.string(),
  /** Same-task conversations share a cluster. */
  cluster: z.string(),
  start: z.object({
    /** System message and everything up to and including the first user message; of a pivot, everything before its call. */
    messages: z.array(messageSchema),
    /** Recorded user turns after the first, in order. */
    userTurns: z.array(messageSchema),
    tools: z.array(
      z.object({ name: z.string(), description: z.string().optional(), parameters: z.record(z.string(), z.unknown()).optional() }),
    ),
    clockMs: z.number(),
    /** What the numbers in the conversation's texts stand for (`trajectory.pseudonyms`). */
    pseudonyms: z.record(z.string(), z.string()).optional(),
  }),
  /** What a rollout's user goes by beside `start.userTurns`. Missing in scenarios from before it was kept. */
  userModel: z
    .object({
      /** What the recorded agent had said before each of `start.userTurns`: its last text, from the end at most 4,000 characters; "" where it said none. */
      asked: z.array(z.string()),
    })
    .optional(),
  /** Its own tape first, then those of the same task and split. Any tape of the tenant and split may answer; the run pins which there are. */
  tapes: z.array(z.string()),
  mode: z.enum(["loop", "agent", "step"]),
  /** Why this mode. Missing in scenarios from before it was chosen. */
  modeReason: z.enum(["agent_configured", "covered", "low_coverage", "requests_differ", "replay_cut", "live"]).optional(),
  /** Share of a replay's tool calls that the tapes were predicted to answer. */
  predictedCoverage: z.number().optional(),
  /** In mode `step`: which model call of the conversation, from 0, and what was answered in production. */
  pivot: z.object({ call: z.int(), recorded: messageSchema }).optional(),
  /** Of a pivot that was made where replay had ended a group's members (`replay_cut`): which group, why it does not train, and how many of its members ended there. */
  cutFrom: z.object({ group: z.string(), reason: z.enum(["step_only", "no_signal"]), members: z.int() }).optional(),
  split: z.enum(["train", "held_out"]),
  recordedAtMs: z.number(),
  /** Model calls of the recorded conversation. */
  recordedCalls: z.int(),
  /** Why it was picked. Missing in scenarios of runs from before it was kept, and of those that evaluate: they are drawn. */
  selectedFor: z.array(signalSchema).optional(),
});
export type Scenario = z.infer<typeof scenarioSchema>;
export type Split = Scenario["split"];

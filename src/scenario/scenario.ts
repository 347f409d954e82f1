import { z } from "zod";
import { messageSchema } from "../trace/message.ts";

/** A situation to replay: where a recorded conversation started, and the tapes that may answer it. */
export const scenarioSchema = z.object({
  id: z.string(),
  tenant: z.string(),
  agent: z.string(),
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
  /** Its own tape first, then those of the same task and split. Any tape of the tenant and split may answer; the run pins which there are. */
  tapes: z.array(z.string()),
  mode: z.enum(["loop", "agent", "step"]),
  /** Why this mode. Missing in scenarios from before it was chosen. */
  modeReason: z.enum(["agent_configured", "covered", "low_coverage", "requests_differ"]).optional(),
  /** Share of a replay's tool calls that the tapes were predicted to answer. */
  predictedCoverage: z.number().optional(),
  /** In mode `step`: which model call of the conversation, from 0, and what was answered in production. */
  pivot: z.object({ call: z.int(), recorded: messageSchema }).optional(),
  split: z.enum(["train", "held_out"]),
  recordedAtMs: z.number(),
  /** Model calls of the recorded conversation. */
  recordedCalls: z.int(),
});
export type Scenario = z.infer<typeof scenarioSchema>;
export type Split = Scenario["split"];

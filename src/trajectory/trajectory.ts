import { z } from "zod";
import { messageSchema } from "../trace/message.ts";

/** Why a conversation cannot teach. The mend for each, per SDK, is in verdict.ts. */
export const reasonSchema = z.enum([
  "truncated_json",
  "dropped_attributes",
  "dropped_events",
  "tool_definitions_missing",
  "tool_calls_missing",
  "tool_result_missing",
  "tool_result_reworded",
  "system_missing",
  "output_missing",
  "pairing_guessed",
  "compacted_unlinked",
  "dangling_ref",
  "no_consent",
  "pii_unredacted",
  "superseded",
  "served_by_rolled_back",
  "candidate_undecided",
  "unknown_agent",
]);
export type Reason = z.infer<typeof reasonSchema>;

const toolDefinitionSchema = z.object({
  name: z.string(),
  description: z.string().optional(),
  parameters: z.record(z.string(), z.unknown()).optional(),
  annotations: z
    .object({
      readOnlyHint: z.boolean().optional(),
      destructiveHint: z.boolean().optional(),
      idempotentHint: z.boolean().optional(),
      openWorldHint: z.boolean().optional(),
    })
    .optional(),
});

const assignmentSchema = z.object({
  experimentId: z.string().nullable(),
  key: z.string(),
  weakKey: z.boolean(),
  arm: z.enum(["stable", "candidate"]),
  probability: z.number(),
  routeVersion: z.number(),
});

/** When a tool call of the transcript was made, by tool call id (or `turn:index` where there is none). */
const toolTimingSchema = z.object({
  callId: z.string(),
  startedAtMs: z.number(),
  latencyMs: z.number(),
  isError: z.boolean(),
  traceId: z.string(),
  spanId: z.string(),
  /** Verbs of HTTP requests that its span or spans below it tell of, each once; absent where none did. */
  httpMethods: z.array(z.string()).optional(),
});

/**
 * One assembled branch of a conversation: the transcript as the model saw and wrote it, with where it came from.
 * `messages` holds the whole transcript in order, the system message first; the last message is the assistant's.
 */
export const trajectorySchema = z.object({
  id: z.string(),
  version: z.int().positive(),
  conversationId: z.string(),
  conversationKey: z.string(),
  tenant: z.string(),
  agent: z.string(),
  parentId: z.string().nullable(),
  /** End user, or null; `subjectKnown` false means the conversation stands for its own subject. */
  subject: z.string().nullable(),
  startedAtMs: z.number(),
  endedAtMs: z.number(),
  model: z.string().nullable(),
  adapterDigest: z.string().nullable(),
  assignment: assignmentSchema.nullable(),
  messages: z.array(messageSchema),
  /**
   * Which of the tenant's pseudonyms each number in the messages stands for: `<email_1>` → `<email_k3v7qa2p>`. Replay needs it to tell people of different
   * conversations apart; no model is shown it. Missing in trajectories assembled before it was kept.
   */
  pseudonyms: z.record(z.string(), z.string()).optional(),
  tools: z.array(toolDefinitionSchema).nullable(),
  toolTimings: z.array(toolTimingSchema),
  sampling: z.object({ temperature: z.number().optional(), topP: z.number().optional(), maxTokens: z.number().optional() }),
  usage: z.object({ inputTokens: z.number(), outputTokens: z.number(), calls: z.number() }),
  finishReason: z.string().nullable(),
  dialects: z.array(z.string()),
  spans: z.array(z.object({ traceId: z.string(), spanId: z.string() })),
  /** Response ids of its model calls: feedback may name one. */
  responseIds: z.array(z.string()).optional(),
  /** Digests of the images and sounds that its messages refer to (`file_id` of their parts). */
  media: z.array(z.string()).optional(),
  /** sha256 of what it teaches: messages, tools, model; equal content means nothing new was learned by a late span. */
  contentHash: z.string(),
  verdict: z.object({ trainable: z.boolean(), reasons: z.array(reasonSchema) }),
});
export type Trajectory = z.infer<typeof trajectorySchema>;
export type Verdict = Trajectory["verdict"];

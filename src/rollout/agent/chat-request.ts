import { z } from "zod";
import type { ChatMessage, ChatTool } from "../../serving/policy-server.ts";

/** A chat completion as an agent asks for it, in the form that policy servers take. */
export interface AgentRequest {
  /** As asked for; which model answers is the rollout's choice. */
  model: string;
  messages: readonly ChatMessage[];
  tools: readonly ChatTool[];
  maxTokens: number | null;
  stream: boolean;
  includeUsage: boolean;
  /** Fields that leave the sampled distribution as it is. */
  passed: Readonly<Record<string, unknown>>;
}

export type ReadRequest =
  | { status: "read"; request: AgentRequest }
  /** Not a chat request at all: the agent may try another. */
  | { status: "invalid"; message: string }
  /** Asks for samples that are not the policy's own, or for what replay has not: such a rollout can teach nothing. */
  | { status: "unsupported"; message: string };

const textPart = z.looseObject({ type: z.literal("text"), text: z.string() });
const content = z.union([z.string(), z.array(z.looseObject({ type: z.string() }))]).nullish();
const toolCall = z.looseObject({ id: z.string(), function: z.looseObject({ name: z.string(), arguments: z.string() }) });
const message = z.looseObject({
  role: z.enum(["system", "developer", "user", "assistant", "tool"]),
  content,
  tool_calls: z.array(toolCall).nullish(),
  tool_call_id: z.string().nullish(),
});
const tool = z.looseObject({
  type: z.literal("function"),
  function: z.looseObject({
    name: z.string(),
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
  }),
});
const positive = z.int().positive().nullish();
const requestSchema = z.looseObject({
  model: z.string().default(""),
  messages: z.array(message).min(1),
  tools: z.array(tool).nullish(),
  max_tokens: positive,
  max_completion_tokens: positive,
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
});
type Message = z.infer<typeof message>;

/** Handed on; everything else that an agent may set is either forced (model, sampling) or has no effect on text. */
const PASSED = ["stop", "chat_template_kwargs", "parallel_tool_calls"] as const;

/** Reads the body of `POST /v1/chat/completions`. Pure. */
export function readChatRequest(body: unknown): ReadRequest {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return { status: "invalid", message: `${issue?.path.join(".") ?? "body"}: ${issue?.message ?? "invalid"}` };
  }
  const asked = parsed.data;
  const problem =
    constraintOf(asked) ?? (asked.messages.every((one) => isText(one.content)) ? null : "messages with parts that are not text");
  if (problem !== null) return unsupported(problem);
  const limits = [asked.max_tokens, asked.max_completion_tokens].filter((limit) => limit != null);
  const tools = asked["tool_choice"] === "none" ? [] : (asked.tools ?? []);
  return {
    status: "read",
    request: {
      model: asked.model,
      messages: asked.messages.map(chatMessage),
      tools: tools.map(chatTool),
      maxTokens: limits.length === 0 ? null : Math.min(...limits),
      stream: asked.stream === true,
      includeUsage: asked.stream_options?.include_usage === true,
      passed: Object.fromEntries(PASSED.flatMap((key) => (asked[key] == null ? [] : [[key, asked[key]]]))),
    },
  };
}

/** A request that a rollout cannot honour, for what it asks. */
export function unsupported(what: string): ReadRequest {
  return { status: "unsupported", message: `A rollout cannot honour ${what}: it samples text from the policy as it is.` };
}

/** What would change which tokens may be sampled: logprobs of such samples are not those that the trainer computes. */
function constraintOf(asked: Record<string, unknown>): string | null {
  const { n, response_format: format, tool_choice: choice, logit_bias: bias } = asked;
  if (typeof n === "number" && n > 1) return "n above 1";
  if (format != null && (format as { type?: unknown }).type !== "text") return "response_format";
  if (choice != null && choice !== "auto" && choice !== "none") return "a forced tool_choice";
  if (bias != null && Object.keys(bias).length > 0) return "logit_bias";
  for (const key of ["presence_penalty", "frequency_penalty"]) if (asked[key] != null && asked[key] !== 0) return key;
  return asked["repetition_penalty"] == null || asked["repetition_penalty"] === 1 ? null : "repetition_penalty";
}

function isText(value: Message["content"]): boolean {
  return !Array.isArray(value) || value.every((part) => textPart.safeParse(part).success);
}

function textOf(value: Message["content"]): string | null {
  return Array.isArray(value) ? value.map((part) => textPart.parse(part).text).join("") : (value ?? null);
}

function chatMessage({ role, content: value, tool_calls: calls, tool_call_id: id }: Message): ChatMessage {
  return {
    // Newer SDKs say `developer` where the template knows `system`.
    role: role === "developer" ? "system" : role,
    content: textOf(value),
    ...(calls == null || calls.length === 0
      ? {}
      : {
          tool_calls: calls.map(({ id: callId, function: { name, arguments: text } }) => ({
            id: callId,
            type: "function" as const,
            function: { name, arguments: text },
          })),
        }),
    ...(id == null ? {} : { tool_call_id: id }),
  };
}

function chatTool({ function: { name, description, parameters } }: z.infer<typeof tool>): ChatTool {
  return {
    type: "function",
    function: { name, ...(description == null ? {} : { description }), ...(parameters == null ? {} : { parameters }) },
  };
}

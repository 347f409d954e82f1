import { z } from "zod";

/**
 * Canonical messages: the newest OpenTelemetry GenAI message schema. Every dialect is translated to this, everything downstream reads only this.
 * Unknown part types are kept as they came.
 */
const textPart = z.looseObject({ type: z.literal("text"), content: z.string() });
const toolCallPart = z.looseObject({ type: z.literal("tool_call"), id: z.string().optional(), name: z.string(), arguments: z.unknown() });
const toolCallResponsePart = z.looseObject({ type: z.literal("tool_call_response"), id: z.string().optional(), response: z.unknown() });
const reasoningPart = z.looseObject({ type: z.literal("reasoning"), content: z.string() });
const genericPart = z.looseObject({ type: z.string() });

export const partSchema = z.union([textPart, toolCallPart, toolCallResponsePart, reasoningPart, genericPart]);
export const messageSchema = z.looseObject({ role: z.string(), parts: z.array(partSchema), name: z.string().optional() });

/** `arguments` is the parsed object where the SDK sent valid JSON, otherwise the string as sent. */
export type ToolCallPart = z.infer<typeof toolCallPart>;
/** `response` is what the tool answered: parsed JSON, or the string as sent. */
export type ToolCallResponsePart = z.infer<typeof toolCallResponsePart>;
export type Part = z.infer<typeof partSchema>;
export type Message = z.infer<typeof messageSchema>;

/** What an MCP server says of a tool. Hints, from whoever runs the server; absent means the protocol's default (not read-only, destructive). */
export interface ToolAnnotations {
  readOnlyHint?: boolean;
  destructiveHint?: boolean;
  idempotentHint?: boolean;
  openWorldHint?: boolean;
}

export interface ToolDefinition {
  name: string;
  description?: string;
  /** JSON Schema of the arguments; absent when the SDK sent only names. */
  parameters?: Record<string, unknown>;
  /** Only where the SDK recorded some. */
  annotations?: ToolAnnotations;
}

export function isToolCall(part: Part): part is ToolCallPart {
  return part.type === "tool_call";
}

export function isToolCallResponse(part: Part): part is ToolCallResponsePart {
  return part.type === "tool_call_response";
}

/** The text of a message: its text parts joined by nothing, in order. */
export function textOf(message: Message): string {
  return message.parts.map((part) => (part.type === "text" && typeof part["content"] === "string" ? part["content"] : "")).join("");
}

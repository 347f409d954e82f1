import type { Message, ToolDefinition } from "../../trace/message.ts";

/** What an answer says, in canonical words; what it does not say is absent. */
export interface LiveAnswer {
  id?: string;
  model?: string;
  output: readonly Message[];
  /** As the server wrote them, one per choice. */
  finishReasons: readonly string[];
  usage: { inputTokens?: number; outputTokens?: number; cacheReadTokens?: number; reasoningTokens?: number };
}

/** One of the HTTP APIs that the gateway passes through, as capture reads it. Nothing here throws on a body of another shape. */
export interface LiveApi {
  operation: "chat" | "text_completion";
  provider: "openai" | "anthropic";
  /** Generating twice leaves nothing behind on the server. */
  idempotent: boolean;
  /** Names of the request's sampling fields that differ between APIs. */
  maxTokensFields: readonly string[];
  readRequest(body: Record<string, unknown>): { input: readonly Message[]; tools: readonly ToolDefinition[] | null };
  readAnswer(body: Record<string, unknown>): LiveAnswer;
  /** Rebuilds from a stream's events the body that the same call would have got without streaming. */
  collect(): StreamCollector;
}

export interface StreamCollector {
  event(data: Record<string, unknown>): void;
  body(): Record<string, unknown>;
}

// Readers of untrusted JSON: every field may be missing or of another type.

export function record(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

export function records(value: unknown): readonly Record<string, unknown>[] {
  return Array.isArray(value) ? value.map(record) : [];
}

export function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

export function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** Drops undefined values, which exactOptionalPropertyTypes forbids to pass on. */
export function present<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept: Partial<T> = {};
  for (const key in value) if (value[key] !== undefined) kept[key] = value[key];
  return kept as { [K in keyof T]: Exclude<T[K], undefined> };
}

/** A JSON object or array where the text is one, otherwise the text: "42" as a tool's answer stays the text that the model saw. */
export function parsedOrText(value: unknown): unknown {
  if (typeof value !== "string" || !/^\s*[{[]/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

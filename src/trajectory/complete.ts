import type { Call } from "../trace/call.ts";
import { isToolCall, isToolCallResponse, type Message } from "../trace/message.ts";

export interface CompletionInput {
  firstReceivedMs: number;
  lastReceivedMs: number;
  /** When the last root of its traces was seen to have ended; null while one is missing. */
  rootEndedMs: number | null;
  /** A tool was asked for and neither its execution nor its result was seen. */
  toolCallDangles: boolean;
}

export interface CompletionLimits {
  graceMs: number;
  idleMs: number;
  maxAgeMs: number;
}

export type Completion = { state: "complete"; because: "root_ended" | "idle" | "max_age" } | { state: "open"; recheckAtMs: number };

/**
 * Whether a conversation is complete at `nowMs`: its roots ended, a grace passed without another span and no tool call dangles; or it was idle; or it is too
 * old. All times are of one clock, ingest's, so that neither a collector's clock nor a topic that waited for ingest makes half a conversation look quiet.
 */
export function completionOf(input: CompletionInput, limits: CompletionLimits, nowMs: number): Completion {
  const capAtMs = input.firstReceivedMs + limits.maxAgeMs;
  const idleAtMs = input.lastReceivedMs + limits.idleMs;
  const graceAtMs =
    input.rootEndedMs === null || input.toolCallDangles
      ? Number.POSITIVE_INFINITY
      : Math.max(input.rootEndedMs, input.lastReceivedMs) + limits.graceMs;
  if (nowMs >= graceAtMs) return { state: "complete", because: "root_ended" };
  if (nowMs >= idleAtMs) return { state: "complete", because: "idle" };
  if (nowMs >= capAtMs) return { state: "complete", because: "max_age" };
  return { state: "open", recheckAtMs: Math.min(graceAtMs, idleAtMs, capAtMs) };
}

/** Whether an answer asks for a tool that nobody was seen to have run: neither a span of it nor a later request with its result. */
export function toolCallDangles(calls: readonly Call[]): boolean {
  const asked = calls.flatMap((call) => (call.kind === "inference" ? toolCallsIn(call.output) : []));
  if (asked.length === 0) return false;
  const answered = new Set<string | undefined>();
  for (const call of calls) {
    if (call.kind === "tool") answered.add(call.toolCallId ?? call.toolName);
    if (call.kind !== "inference") continue;
    // In loops: every call repeats the messages of those before it, and lists of their parts were a tenth of ingest.
    for (const { parts } of call.input) for (const part of parts) if (isToolCallResponse(part)) answered.add(part.id);
  }
  const withoutId = answered.has(undefined);
  return asked.some(({ id, name }) => !answered.has(id) && !answered.has(name) && !withoutId);
}

function toolCallsIn(messages: readonly Message[]) {
  return messages.flatMap(({ parts }) => parts.filter(isToolCall));
}

import type { Call, Damage, InferenceCall, Usage } from "../call.ts";
import type { Message, ToolDefinition } from "../message.ts";
import type { LogEvent, Span } from "../span.ts";

/** What one dialect could read from a span and its log events. A field that the telemetry does not have is absent. */
export interface Reading {
  kind?: Call["kind"];
  input?: readonly Message[];
  output?: readonly Message[];
  tools?: readonly ToolDefinition[];
  finishReasons?: readonly string[];
  provider?: string;
  requestModel?: string;
  responseModel?: string;
  responseId?: string;
  usage?: Usage;
  sampling?: InferenceCall["sampling"];
  toolName?: string;
  toolCallId?: string;
  arguments?: unknown;
  result?: unknown;
  agentName?: string;
  conversationKey?: string;
  subject?: string;
  damage?: readonly Damage[];
  /** Span events that the SDK dropped held nothing that is not told elsewhere. */
  eventsToldElsewhere?: true;
}

/** Translates one way of writing GenAI telemetry. Pure. */
export interface Dialect {
  readonly name: string;
  /** Null when the span does not speak this dialect. */
  read(span: Span, logs: readonly LogEvent[]): Reading | null;
}

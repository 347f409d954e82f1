import type { Message, ToolDefinition } from "./message.ts";

/** What a dialect could not take over whole; assembly turns these into verdict reasons. */
export type Damage =
  | "truncated_json"
  | "dropped_attributes"
  | "dropped_events"
  | "dangling_ref"
  | "pii_unredacted"
  | "tool_result_reworded";

export interface Usage {
  inputTokens?: number;
  outputTokens?: number;
}

/** The assignment that the gateway wrote on its span at the key's call. */
export interface Assignment {
  experimentId: string | null;
  key: string;
  weakKey: boolean;
  arm: "stable" | "candidate";
  /** Candidate weight in force when the key was pinned. */
  probability: number;
  routeVersion: number;
}

interface CallBase {
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
  startNs: bigint;
  endNs: bigint;
  dialect: string;
  /** Service name of the resource. */
  serviceName: string | null;
  agentName: string | null;
  /** gen_ai.conversation.id / session.id / thread id, where the SDK sent one. */
  conversationKey: string | null;
  /** End user, where the SDK sent one: the subject for consent, splits and erasure. */
  subject: string | null;
  consent: boolean | null;
  damage: readonly Damage[];
  errorType: string | null;
  /** Verb of the HTTP request that the span is about, in capitals; absent on other spans. */
  httpMethod?: string;
}

/** One model call, translated from whichever dialect (or several: most specific wins field by field). */
export interface InferenceCall extends CallBase {
  kind: "inference";
  provider: string | null;
  requestModel: string | null;
  responseModel: string | null;
  responseId: string | null;
  input: readonly Message[];
  output: readonly Message[];
  tools: readonly ToolDefinition[] | null;
  finishReasons: readonly string[];
  usage: Usage;
  sampling: { temperature?: number; topP?: number; maxTokens?: number; seed?: number };
  /** Digest of the adapter that answered (`nightshift.adapter`), from the gateway's span. */
  adapterDigest: string | null;
  assignment: Assignment | null;
}

/** One execution of a tool. */
export interface ToolCall extends CallBase {
  kind: "tool";
  toolName: string;
  toolCallId: string | null;
  arguments: unknown;
  result: unknown;
  isError: boolean;
}

/** A span that only gives structure: the root of a conversation, an agent, a chain. */
export interface StructureCall extends CallBase {
  kind: "structure";
  name: string;
  /** What the agent offers its model, where the SDK tells it of the agent and not of each call. */
  tools?: readonly ToolDefinition[];
}

export type Call = InferenceCall | ToolCall | StructureCall;

import { createHash } from "node:crypto";
import { storableText } from "../store/storable.ts";
import { ASSIGNMENT_SPAN } from "../telemetry.ts";
import { CONVERSATION_ATTRIBUTES, SESSION_ATTRIBUTES } from "../trace/identity.ts";
import type { Attributes, LogEvent, Span } from "../trace/span.ts";
import type { AgentTraits } from "./match-agent.ts";

export type KeyKind = "conversation" | "session" | "trace";
export interface ConversationKey {
  kind: KeyKind;
  key: string;
}

const AGENT_NAME_ATTRIBUTES = ["gen_ai.agent.name", "agent.name", "graph.node.id", "ai.telemetry.functionId"];
const RANK: Readonly<Record<KeyKind, number>> = { conversation: 0, session: 1, trace: 2 };
const MAX_KEY_LENGTH = 512;

/** Stable across processes and versions: it is in every lineage. */
export function conversationId(tenant: string, key: ConversationKey): string {
  return createHash("sha256").update([tenant, key.kind, key.key].join("\n")).digest("hex").slice(0, 32);
}

/** The conversation or session id that a span or log event carries; null when it carries none. */
export function keyOf(record: Span | LogEvent): ConversationKey | null {
  const conversation = textOf(record, CONVERSATION_ATTRIBUTES);
  if (conversation !== null) return { kind: "conversation", key: conversation };
  const session = textOf(record, SESSION_ATTRIBUTES);
  return session === null ? null : { kind: "session", key: session };
}

/** Which of two keys of one trace names its conversation: the more telling kind, then the smaller text, so that the order of arrival never decides. */
export function betterKey(one: ConversationKey, other: ConversationKey): ConversationKey {
  if (one.kind !== other.kind) return RANK[one.kind] < RANK[other.kind] ? one : other;
  return one.key <= other.key ? one : other;
}

/** What agents are matched by. */
export function traitsOf(record: Span | LogEvent): AgentTraits {
  return { serviceName: textIn(record.resource, "service.name"), agentName: textOf(record, AGENT_NAME_ATTRIBUTES) };
}

/** A span that nothing above it will follow: no parent, or one in another service (a server or consumer span is the app's own root). */
export function isRoot(span: Span): boolean {
  if (span.name === ASSIGNMENT_SPAN) return false;
  return span.parentSpanId === null || span.kind === SPAN_KIND_SERVER || span.kind === SPAN_KIND_CONSUMER;
}

/** The gateway's announcement of an assignment, in a trace of its own: what it announces is still to come, in other traces. */
export function isAnnouncement(span: Span): boolean {
  return span.name === ASSIGNMENT_SPAN && span.parentSpanId === null;
}

const SPAN_KIND_SERVER = 2;
const SPAN_KIND_CONSUMER = 5;

function textOf(record: { attributes: Attributes; resource: Attributes }, names: readonly string[]): string | null {
  for (const name of names) {
    const found = textIn(record.attributes, name) ?? textIn(record.resource, name);
    if (found !== null) return found;
  }
  return null;
}

/** Postgres refuses NUL in text; an id that long is somebody's mistake or attack. */
function textIn(attributes: Attributes, name: string): string | null {
  const value = attributes[name];
  if (typeof value !== "string" && typeof value !== "number") return null;
  const text = storableText(String(value)).trim().slice(0, MAX_KEY_LENGTH);
  return text === "" ? null : text;
}

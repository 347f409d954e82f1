import type { IncomingMessage } from "node:http";
import { HEADER } from "../../../telemetry.ts";
import type { Assignment } from "../../../trace/call.ts";
import type { RouteTarget } from "../../routes.ts";

/** What the gateway saw, as plain data: it is made into spans elsewhere, so that no call waits for the spans of others. */
export type Seen = SeenCall | SeenAssignment;

/** One live call that is over. */
export interface SeenCall {
  kind: "call";
  agent: string;
  /** Path of its endpoint, which says what its bodies are. */
  path: string;
  publicModel: string;
  caller: Caller;
  assignment: Assignment;
  /** What answered; null when nothing did. */
  target: RouteTarget | null;
  fallback: string | null;
  /** Why the call failed, in one of a few fixed words or an HTTP status; null when it did not. */
  errorType: string | null;
  /** Milliseconds since the epoch, with fractions. */
  startMs: number;
  firstByteMs: number | null;
  endMs: number;
  /** The request's body as it came. */
  request: Uint8Array;
  /** The answer's bytes, in as many pieces as it came in; null when there was none, or more than is kept. */
  answer: readonly Uint8Array[] | null;
  isEventStream: boolean;
}

/** A key got its arm. */
export interface SeenAssignment {
  kind: "assignment";
  agent: string;
  caller: Caller;
  assignment: Assignment;
  atMs: number;
}

/** What a request says of where it belongs. */
export interface Caller {
  traceparent: string | null;
  /** Only a session id that the agent sent itself: the convention forbids inventing a conversation's. */
  sessionId: string | null;
}

export function callerOf(headers: IncomingMessage["headers"]): Caller {
  const { traceparent } = headers;
  const session = headers[HEADER.sessionId];
  return {
    traceparent: typeof traceparent === "string" ? traceparent : null,
    sessionId: typeof session === "string" && session.trim() !== "" ? session.trim() : null,
  };
}

/** Bytes that something seen holds in memory. */
export function bytesOf(seen: Seen): number {
  if (seen.kind === "assignment") return 0;
  return (seen.answer ?? []).reduce((sum, piece) => sum + piece.length, seen.request.length);
}

/** Keeps an answer's bytes as they pass. Of an answer longer than `maxBytes` nothing: half of a JSON text says nothing. */
export function createAnswerCopy(maxBytes: number): { add(chunk: Uint8Array): void; pieces(): readonly Uint8Array[] | null } {
  let pieces: Uint8Array[] | null = [];
  let size = 0;
  return {
    add(chunk) {
      size += chunk.length;
      if (size > maxBytes) pieces = null;
      pieces?.push(chunk);
    },
    pieces: () => pieces,
  };
}

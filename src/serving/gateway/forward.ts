import type { Dispatcher } from "undici";
import { withModel } from "./body.ts";
import type { Refusal } from "./refusal.ts";
import type { Acquired, Fleet, Replica } from "./replicas.ts";
import type { RouteTarget } from "../routes.ts";

export interface UpstreamCall {
  method: "GET" | "POST";
  path: string;
  headers: Readonly<Record<string, string | string[]>>;
  /** Valid JSON object with a top-level `model`; null on GET. */
  body: Buffer | null;
  /** Generating twice changes nothing on the server, so a call that failed before its first byte may be sent again. */
  idempotent: boolean;
  /** What may answer, best first. Every next one is a fallback. */
  targets: readonly [RouteTarget, ...RouteTarget[]];
  /**
   * The first target is an experiment's candidate: whatever goes wrong before the first byte falls through to the next target. What can only be the replica's fault (it takes no
   * connection, it lacks the adapter) sends the candidate to another replica first, or a replica's death would count against it.
   */
  isCandidate: boolean;
  signal: AbortSignal;
  /** Hears why an attempt failed that is repeated with the same target. */
  onFailover?: (reason: string) => void;
}

export type Forwarded =
  | {
      status: "answered";
      answer: Dispatcher.ResponseData;
      target: RouteTarget;
      /** Why another target than the first answered; null when the first did. */
      fallback: string | null;
      /** Milliseconds that policy servers took, over all attempts. */
      upstreamMs: number;
      /** Told of every part of the body that comes. */
      noteLife: () => void;
      release: (outcome: "ok" | "failed" | "unknown") => void;
    }
  | { status: "refused"; refusal: Refusal; fallback: string | null }
  | { status: "aborted" };

type Slot = Extract<Acquired, { status: "acquired" }>;
type Sent =
  | { status: "answered"; answer: Dispatcher.ResponseData }
  | { status: "failed"; kind: "connect" | "timeout" | "broken" }
  | { status: "aborted" };
type Next = "relay" | "same_target" | "next_target" | "refuse";

const UNAVAILABLE: Refusal = {
  status: 503,
  code: "upstream_unavailable",
  message: "No server of this model answers.",
  retryAfterMs: 1_000,
};

/** Sends a call to the first target that can answer it. Resolves when the answer's headers are there; only the relay touches its body. */
export async function forward(fleet: Fleet, call: UpstreamCall): Promise<Forwarded> {
  const tried = new Set<Replica>();
  /** They are well, and only lack this target. */
  const lacking = new Set<Replica>();
  let fallback: string | null = null;
  let targetIndex = 0;
  let upstreamMs = 0;
  for (let attempt = 1; ; attempt++) {
    const target = call.targets[targetIndex] ?? call.targets[0];
    const slot = await fleet.acquire(lacking.size === 0 ? tried : new Set([...tried, ...lacking]), call);
    if (call.signal.aborted && slot.status !== "acquired") return { status: "aborted" };
    if (slot.status !== "acquired") return { status: "refused", refusal: refusalOf(slot), fallback };
    const sentMs = performance.now();
    const sent = await send(slot.replica, call, target);
    upstreamMs += performance.now() - sentMs;
    if (sent.status === "answered") slot.noteLife();
    if (sent.status === "aborted") {
      slot.release("unknown");
      return { status: "aborted" };
    }
    const next = decide(sent, call, { targetIndex, attempt, replicas: fleet.size, isSilent: slot.isSilent() });
    if (next === "relay" && sent.status === "answered") {
      return { status: "answered", answer: sent.answer, target, fallback, upstreamMs, noteLife: slot.noteLife, release: slot.release };
    }
    discard(slot, sent);
    (isMissing(sent) ? lacking : tried).add(slot.replica);
    if (next === "refuse") return { status: "refused", refusal: failureRefusal(sent), fallback };
    if (next === "same_target") call.onFailover?.(reasonOf(sent));
    if (next === "next_target") {
      fallback = `${call.isCandidate && targetIndex === 0 ? "candidate" : "stable"}_${reasonOf(sent)}`;
      targetIndex++;
      attempt = 0;
      lacking.clear();
    }
  }
}

/** The whole policy of what happens before the first byte. */
function decide(
  sent: Exclude<Sent, { status: "aborted" }>,
  call: UpstreamCall,
  at: { targetIndex: number; attempt: number; replicas: number; isSilent: boolean },
): Next {
  const hasNextTarget = at.targetIndex < call.targets.length - 1;
  const isCandidate = call.isCandidate && at.targetIndex === 0;
  // Evicted, or forgotten in a restart: another replica may still have it, the base always does.
  if (isMissing(sent)) return at.attempt < at.replicas ? "same_target" : hasNextTarget ? "next_target" : "relay";
  if (sent.status === "answered") {
    const { statusCode } = sent.answer;
    if (isCandidate) return statusCode >= 500 ? "next_target" : "relay";
    return isGatewayFailure(statusCode) && call.idempotent && at.attempt < 2 ? "same_target" : "relay";
  }
  // Who took no connection never saw the candidate. Any other failure may be the candidate's doing, and is not tried on a second replica.
  if (isCandidate && hasNextTarget) return sent.kind === "connect" && at.attempt < at.replicas ? "same_target" : "next_target";
  // A replica that hangs is left for another one. Where it still answers others the fleet is busy, and repeating would make it busier.
  if (sent.kind === "timeout") return at.isSilent && call.idempotent && at.attempt < Math.min(2, at.replicas) ? "same_target" : "refuse";
  const mayRepeat = sent.kind === "connect" || (sent.kind === "broken" && call.idempotent);
  return mayRepeat && at.attempt < Math.max(2, at.replicas) ? "same_target" : "refuse";
}

async function send(replica: Replica, call: UpstreamCall, target: RouteTarget): Promise<Sent> {
  if (call.signal.aborted) return { status: "aborted" };
  const headers: Record<string, string | string[]> = { ...call.headers };
  if (replica.apiKey !== undefined) headers["authorization"] = `Bearer ${replica.apiKey}`;
  try {
    const answer = await replica.pool.request({
      method: call.method,
      path: replica.basePath + call.path,
      headers,
      body: call.body === null ? null : withModel(call.body, target.name),
      signal: call.signal,
    });
    return { status: "answered", answer };
  } catch (cause) {
    if (call.signal.aborted) return { status: "aborted" };
    return { status: "failed", kind: failureKind(cause) };
  }
}

function failureKind(cause: unknown): "connect" | "timeout" | "broken" {
  const code = cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? "") : "";
  if (code === "UND_ERR_HEADERS_TIMEOUT") return "timeout";
  // Nothing was sent yet, so repeating is safe whatever the call does.
  return ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"].includes(code)
    ? "connect"
    : "broken";
}

function isMissing(sent: Sent): boolean {
  return sent.status === "answered" && sent.answer.statusCode === 404;
}

/** 500 may be the request's own fault: it neither ejects a replica nor is it repeated. */
function isGatewayFailure(statusCode: number): boolean {
  return statusCode === 502 || statusCode === 503 || statusCode === 504;
}

function discard(slot: Slot, sent: Sent): void {
  if (sent.status !== "answered") {
    slot.release("failed");
    return;
  }
  slot.release(isGatewayFailure(sent.answer.statusCode) ? "failed" : "ok");
  // Reads a short error body so that the connection can be used again; a long one closes it.
  sent.answer.body.dump({ limit: 65_536 }).catch(() => undefined);
}

function reasonOf(sent: Sent): string {
  if (sent.status === "answered") return sent.answer.statusCode === 404 ? "not_found" : "server_error";
  return sent.status === "failed" && sent.kind === "timeout" ? "timeout" : "unreachable";
}

function refusalOf(slot: Exclude<Acquired, { status: "acquired" }>): Refusal {
  if (slot.status === "unavailable") return { ...UNAVAILABLE, retryAfterMs: slot.retryAfterMs };
  return slot.status === "queue_full"
    ? { status: 429, code: "queue_full", message: "Too many requests are waiting for this model.", retryAfterMs: 1_000 }
    : { status: 503, code: "queue_timeout", message: "The model is busy: no server became free in time.", retryAfterMs: 1_000 };
}

function failureRefusal(sent: Sent): Refusal {
  return sent.status === "failed" && sent.kind === "timeout"
    ? { status: 504, code: "upstream_timeout", message: "The model did not answer in time." }
    : UNAVAILABLE;
}

import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags, type Attributes, type Context } from "@opentelemetry/api";
import { ASSIGNMENT_SPAN, ATTRIBUTE, HEADER } from "../../telemetry.ts";
import type { Assignment } from "../../trace/call.ts";
import type { RouteTarget } from "../routes.ts";
import { count, text, type LiveAnswer, type LiveApi } from "./live-api.ts";
import type { CaptureSink } from "./span-export.ts";

/** One live call, as far as capture needs to know it when it is over. */
export interface LiveCall {
  agent: string;
  api: LiveApi;
  requestHeaders: Readonly<Record<string, string | string[] | undefined>>;
  requestBody: Record<string, unknown>;
  publicModel: string;
  assignment: Assignment;
  /** What answered; null when nothing did. */
  target: RouteTarget | null;
  fallback: string | null;
  /** Null when there was no answer, or none that could be read. */
  answer: LiveAnswer | null;
  /** Why the call failed, in one of a few fixed words or an HTTP status; null when it did not. */
  errorType: string | null;
  /** Milliseconds since the epoch, with fractions. */
  startMs: number;
  firstByteMs: number | null;
  endMs: number;
}

/**
 * Emits one GenAI CLIENT span for a live call, as a child of the caller's `traceparent`, with the text of both sides (the collector redacts it like
 * any other) and the digest of the adapter that answered. Never throws.
 */
export function emitCallSpan(sink: CaptureSink, call: LiveCall): void {
  const content = contentOf(call);
  const bytes = Object.values(content).reduce((sum, value) => sum + value.length, 0);
  const tracer = sink.admit(call.agent, bytes);
  if (tracer === null) return;
  const span = tracer.startSpan(
    `${call.api.operation} ${call.publicModel}`,
    { kind: SpanKind.CLIENT, startTime: call.startMs, attributes: { ...attributesOf(call, sink.agentName(call.agent)), ...content } },
    callerContext(call.requestHeaders["traceparent"]),
  );
  if (call.errorType !== null) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end(call.endMs);
}

/**
 * Says at once that a key was assigned, before its first call is answered: a span of no length. Spans of calls come when the calls are over, the short ones
 * first; without this the canary could not tell that an earlier unit is still under way, and would count units in the order in which they end.
 * Where neither a session id nor a `traceparent` says which conversation it is, nothing is sent.
 */
export function emitAssignmentSpan(
  sink: CaptureSink,
  assigned: Pick<LiveCall, "agent" | "requestHeaders" | "assignment"> & { atMs: number },
): void {
  const { agent, requestHeaders, assignment, atMs } = assigned;
  const parent = callerContext(requestHeaders["traceparent"]);
  if (sessionOf(requestHeaders) === null && parent === ROOT_CONTEXT) return;
  const identity = { "gen_ai.conversation.id": sessionOf(requestHeaders), "gen_ai.agent.name": sink.agentName(agent) };
  const tracer = sink.admit(agent, 0);
  if (tracer === null) return;
  const attributes = present({ ...identity, ...assignmentAttributes(assignment) });
  tracer.startSpan(ASSIGNMENT_SPAN, { startTime: atMs, attributes }, parent).end(atMs);
}

/** The agent's own span as parent. Whether the agent samples its traces says nothing about capture, so its flag is not looked at. */
function callerContext(header: string | string[] | undefined): Context {
  const match = typeof header === "string" ? /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}/.exec(header) : null;
  const [, traceId, spanId] = match ?? [];
  if (traceId === undefined || spanId === undefined || /^0+$/.test(traceId) || /^0+$/.test(spanId)) return ROOT_CONTEXT;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: TraceFlags.SAMPLED, isRemote: true });
}

function contentOf(call: LiveCall): Record<string, string> {
  const { input, tools } = call.api.readRequest(call.requestBody);
  return {
    "gen_ai.input.messages": JSON.stringify(input),
    ...(call.answer === null ? {} : { "gen_ai.output.messages": JSON.stringify(call.answer.output) }),
    ...(tools === null ? {} : { "gen_ai.tool.definitions": JSON.stringify(tools.map((tool) => ({ type: "function", ...tool }))) }),
  };
}

function attributesOf(call: LiveCall, agentName: string | null): Attributes {
  const { assignment, answer, target } = call;
  const attributes: Record<string, string | number | boolean | string[] | null | undefined> = {
    "gen_ai.operation.name": call.api.operation,
    "gen_ai.provider.name": call.api.provider,
    "gen_ai.request.model": call.publicModel,
    "gen_ai.response.model": answer?.model ?? target?.name,
    "gen_ai.response.id": answer?.id,
    "gen_ai.response.finish_reasons": answer === null || answer.finishReasons.length === 0 ? null : [...answer.finishReasons],
    "gen_ai.response.time_to_first_chunk": call.firstByteMs === null ? null : (call.firstByteMs - call.startMs) / 1_000,
    "gen_ai.usage.input_tokens": answer?.usage.inputTokens,
    "gen_ai.usage.output_tokens": answer?.usage.outputTokens,
    "gen_ai.usage.cache_read.input_tokens": answer?.usage.cacheReadTokens,
    "gen_ai.usage.reasoning.output_tokens": answer?.usage.reasoningTokens,
    // Only a session id that the agent sent itself is a conversation id; the convention forbids inventing one.
    "gen_ai.conversation.id": sessionOf(call.requestHeaders),
    "gen_ai.agent.name": agentName,
    "error.type": call.errorType,
    ...samplingOf(call),
    [ATTRIBUTE.adapter]: target?.digest,
    [ATTRIBUTE.adapterName]: target?.name,
    ...assignmentAttributes(assignment),
    [ATTRIBUTE.fallback]: call.fallback,
  };
  return present(attributes);
}

function assignmentAttributes(assignment: Assignment): Record<string, string | number | boolean | null> {
  return {
    [ATTRIBUTE.assignmentKey]: assignment.key,
    [ATTRIBUTE.assignmentWeak]: assignment.weakKey,
    [ATTRIBUTE.assignmentArm]: assignment.arm,
    [ATTRIBUTE.assignmentProbability]: assignment.probability,
    [ATTRIBUTE.experiment]: assignment.experimentId,
    [ATTRIBUTE.routeVersion]: assignment.routeVersion,
  };
}

function sessionOf(headers: LiveCall["requestHeaders"]): string | null {
  const session = headers[HEADER.sessionId];
  return typeof session === "string" && session.trim() !== "" ? session.trim() : null;
}

function present(attributes: Record<string, string | number | boolean | string[] | null | undefined>): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== null && value !== undefined)) as Attributes;
}

function samplingOf(call: LiveCall): Record<string, string | number | boolean | string[] | undefined> {
  const body = call.requestBody;
  const stop = body["stop"] ?? body["stop_sequences"];
  const stops = (Array.isArray(stop) ? stop : [stop]).filter((each) => typeof each === "string");
  return {
    "gen_ai.request.max_tokens": call.api.maxTokensFields.map((field) => count(body[field])).find((value) => value !== undefined),
    "gen_ai.request.temperature": count(body["temperature"]),
    "gen_ai.request.top_p": count(body["top_p"]),
    "gen_ai.request.top_k": count(body["top_k"]),
    "gen_ai.request.frequency_penalty": count(body["frequency_penalty"]),
    "gen_ai.request.presence_penalty": count(body["presence_penalty"]),
    "gen_ai.request.seed": count(body["seed"]),
    "gen_ai.request.choice.count": body["n"] === 1 ? undefined : count(body["n"]),
    "gen_ai.request.reasoning.level": text(body["reasoning_effort"]),
    ...(stops.length === 0 ? {} : { "gen_ai.request.stop_sequences": stops }),
    ...(body["stream"] === true ? { "gen_ai.request.stream": true } : {}),
  };
}

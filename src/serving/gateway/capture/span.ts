import { randomUUID } from "node:crypto";
import { ASSIGNMENT_SPAN, ATTRIBUTE } from "../../../telemetry.ts";
import type { Assignment } from "../../../trace/call.ts";
import { parseObject } from "../body.ts";
import { LIVE_APIS } from "../endpoint.ts";
import { count, text, type LiveAnswer, type LiveApi } from "../live-api.ts";
import { readAnswer } from "./answer-reader.ts";
import type { CapturedSpan, SpanAttribute } from "./otlp-span.ts";
import type { Seen, SeenAssignment, SeenCall } from "./seen.ts";

/** The span of what was seen; null where there is none to be made. */
export function spanOf(seen: Seen, agentName: string | null): CapturedSpan | null {
  return seen.kind === "call" ? callSpan(seen, agentName) : assignmentSpan(seen, agentName);
}

/**
 * One GenAI CLIENT span for a live call, as a child of the caller's `traceparent`, with the text of both sides (the collector redacts it like any other) and the
 * digest of the adapter that answered.
 */
function callSpan(call: SeenCall, agentName: string | null): CapturedSpan {
  const api = LIVE_APIS[call.path];
  if (api === undefined) throw new Error(`no API has the path ${call.path}`);
  const request = parseObject(Buffer.from(call.request)) ?? {};
  const answer = call.answer === null ? null : readAnswer(api, call.answer, call);
  return {
    name: `${api.operation} ${call.publicModel}`,
    kind: "client",
    ...idsBelow(callerSpan(call.caller.traceparent)),
    startMs: call.startMs,
    endMs: call.endMs,
    isError: call.errorType !== null,
    attributes: { ...attributesOf(call, { api, request, answer, agentName }), ...contentOf(api, request, answer) },
  };
}

/**
 * Says at once that a key was assigned, before its first call is answered: a span of no length. Spans of calls come when the calls are over, the short ones
 * first; without this the canary could not tell that an earlier unit is still under way, and would count units in the order in which they end.
 * Where neither a session id nor a `traceparent` says which conversation it is, nothing is sent.
 */
function assignmentSpan({ caller, assignment, atMs }: SeenAssignment, agentName: string | null): CapturedSpan | null {
  const parent = callerSpan(caller.traceparent);
  if (caller.sessionId === null && parent === null) return null;
  const identity = { "gen_ai.conversation.id": caller.sessionId, "gen_ai.agent.name": agentName };
  const attributes = { ...identity, ...assignmentAttributes(assignment) };
  return { name: ASSIGNMENT_SPAN, kind: "internal", ...idsBelow(parent), startMs: atMs, endMs: atMs, isError: false, attributes };
}

interface SpanIds {
  traceId: string;
  spanId: string;
}

/** The agent's own span. Whether the agent samples its traces says nothing about capture, so its flag is not looked at. */
function callerSpan(traceparent: string | null): SpanIds | null {
  const match = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}/.exec(traceparent ?? "");
  const [, traceId, spanId] = match ?? [];
  return traceId === undefined || spanId === undefined || /^0+$/.test(traceId) || /^0+$/.test(spanId) ? null : { traceId, spanId };
}

function idsBelow(parent: SpanIds | null): SpanIds & { parentSpanId: string | null } {
  return { traceId: parent?.traceId ?? randomHex(), spanId: randomHex().slice(16), parentSpanId: parent?.spanId ?? null };
}

/** 32 digits. Node keeps random bytes in stock for UUIDs and for nothing else; six bits of one are fixed, none of them in its last 62. */
function randomHex(): string {
  return randomUUID().replaceAll("-", "");
}

function contentOf(api: LiveApi, request: Record<string, unknown>, answer: LiveAnswer | null): Record<string, string> {
  const { input, tools } = api.readRequest(request);
  return {
    "gen_ai.input.messages": JSON.stringify(input),
    ...(answer === null ? {} : { "gen_ai.output.messages": JSON.stringify(answer.output) }),
    ...(tools === null ? {} : { "gen_ai.tool.definitions": JSON.stringify(tools.map((tool) => ({ type: "function", ...tool }))) }),
  };
}

/** What was read of a call's two sides. */
interface Read {
  api: LiveApi;
  request: Record<string, unknown>;
  answer: LiveAnswer | null;
  agentName: string | null;
}

function attributesOf(call: SeenCall, { api, request, answer, agentName }: Read): CapturedSpan["attributes"] {
  const { assignment, target } = call;
  return {
    "gen_ai.operation.name": api.operation,
    "gen_ai.provider.name": api.provider,
    "gen_ai.request.model": call.publicModel,
    "gen_ai.response.model": answer?.model ?? target?.name,
    "gen_ai.response.id": answer?.id,
    "gen_ai.response.finish_reasons": answer === null || answer.finishReasons.length === 0 ? null : answer.finishReasons,
    "gen_ai.response.time_to_first_chunk": call.firstByteMs === null ? null : (call.firstByteMs - call.startMs) / 1_000,
    "gen_ai.usage.input_tokens": answer?.usage.inputTokens,
    "gen_ai.usage.output_tokens": answer?.usage.outputTokens,
    "gen_ai.usage.cache_read.input_tokens": answer?.usage.cacheReadTokens,
    "gen_ai.usage.reasoning.output_tokens": answer?.usage.reasoningTokens,
    "gen_ai.conversation.id": call.caller.sessionId,
    "gen_ai.agent.name": agentName,
    "error.type": call.errorType,
    ...samplingOf(api, request),
    [ATTRIBUTE.adapter]: target?.digest,
    [ATTRIBUTE.adapterName]: target?.name,
    ...assignmentAttributes(assignment),
    [ATTRIBUTE.fallback]: call.fallback,
  };
}

function assignmentAttributes(assignment: Assignment): Record<string, SpanAttribute> {
  return {
    [ATTRIBUTE.assignmentKey]: assignment.key,
    [ATTRIBUTE.assignmentWeak]: assignment.weakKey,
    [ATTRIBUTE.assignmentArm]: assignment.arm,
    [ATTRIBUTE.assignmentProbability]: assignment.probability,
    [ATTRIBUTE.experiment]: assignment.experimentId,
    [ATTRIBUTE.routeVersion]: assignment.routeVersion,
  };
}

function samplingOf(api: LiveApi, body: Record<string, unknown>): CapturedSpan["attributes"] {
  const stop = body["stop"] ?? body["stop_sequences"];
  const stops = (Array.isArray(stop) ? stop : [stop]).filter((each) => typeof each === "string");
  return {
    "gen_ai.request.max_tokens": api.maxTokensFields.map((field) => count(body[field])).find((value) => value !== undefined),
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

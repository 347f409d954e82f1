import type { Call, InferenceCall, ToolCall } from "../../trace/call.ts";
import { type ItemReader, prefixHashes } from "./items.ts";

/** One model call, whoever recorded it: the innermost span with its blanks filled from the spans around it. */
export interface MergedCall extends InferenceCall {
  /** Every span that recorded this call, innermost first. */
  recordedBy: readonly { traceId: string; spanId: string }[];
  dialects: readonly string[];
  /** The gateway saw the request itself: no tools or no system message there means that there were none. */
  fromGateway: boolean;
  /** The tool execution that this call happened in, for a sub-agent's calls. */
  insideTool: ToolCall | null;
}

export type SpanIndex = ReadonlyMap<string, Call>;

/** Calls by trace and span id. A span id alone is unique only inside its trace. */
export function indexSpans(calls: readonly Call[]): SpanIndex {
  return new Map(calls.map((call) => [spanKey(call.traceId, call.spanId), call]));
}

/**
 * The model calls of a conversation, each once, in the order of their starts. A wrapper (an inference span around other inference spans) is never a call of
 * its own: it fills the blanks of the inner span with the same answer, or of the last one. Unrelated spans with the same response id and the same answer are
 * one call as well (gateway and SDK in separate traces); the id alone proves nothing, because vLLM takes it from the client.
 */
export function mergeCalls(calls: readonly Call[], spans: SpanIndex, read: ItemReader): MergedCall[] {
  const inferences = calls.filter((call) => call.kind === "inference");
  const outers = new Map(inferences.map((call) => [call, nearest(call, spans, "inference")]));
  const wrappers = new Set(outers.values());
  const answerOf = (call: InferenceCall) => prefixHashes(read(call.output)).at(-1) ?? "";

  const wrapped = new Map<InferenceCall, InferenceCall[]>();
  for (const wrapper of inferences.filter((call) => wrappers.has(call))) {
    const inner = inferences.filter((call) => outers.get(call) === wrapper).toSorted(byStart);
    const match = inner.findLast((call) => sameAnswer(call, wrapper, answerOf)) ?? inner.at(-1);
    if (match !== undefined) wrapped.set(match, [wrapper]);
  }
  const leaves = inferences.filter((call) => !wrappers.has(call)).map((leaf) => [leaf, ...around(leaf, wrapped)]);
  return withoutCopies(leaves, answerOf)
    .map((recordings) => merge(recordings, spans))
    .toSorted(byStart);
}

function around(call: InferenceCall, wrapped: ReadonlyMap<InferenceCall, InferenceCall[]>): InferenceCall[] {
  const outer = wrapped.get(call)?.[0];
  return outer === undefined ? [] : [outer, ...around(outer, wrapped)];
}

function sameAnswer(one: InferenceCall, other: InferenceCall, answerOf: (call: InferenceCall) => string): boolean {
  return (one.responseId !== null && one.responseId === other.responseId) || (one.output.length > 0 && answerOf(one) === answerOf(other));
}

function withoutCopies(groups: readonly InferenceCall[][], answerOf: (call: InferenceCall) => string): InferenceCall[][] {
  const merged = new Map<string, InferenceCall[]>();
  for (const group of groups.toSorted(([a], [b]) => Number(isGateway(b)) - Number(isGateway(a)) || byStart(a, b))) {
    const [leaf] = group;
    const id = group.find((call) => call.responseId !== null)?.responseId;
    // Answers that were not recorded are not the same answer.
    const key = leaf === undefined || id === undefined || leaf.output.length === 0 ? null : `${id}\n${answerOf(leaf)}`;
    const first = key === null ? undefined : merged.get(key);
    // Two gateway spans are two requests, whatever their ids say.
    if (key === null || (first !== undefined && isGateway(leaf))) merged.set(`span ${leaf?.traceId}/${leaf?.spanId}`, group);
    else if (first === undefined) merged.set(key, group);
    else first.push(...group);
  }
  return [...merged.values()];
}

function merge(recordings: readonly InferenceCall[], spans: SpanIndex): MergedCall {
  const [inner, ...others] = recordings as [InferenceCall, ...InferenceCall[]];
  const fromGateway = isGateway(inner);
  const first = <T>(pick: (call: InferenceCall) => T | null | undefined, order = recordings): T | null =>
    order.map(pick).find((value) => value !== null && value !== undefined) ?? null;
  // The gateway names the agent of its route; the SDK knows which of its own agents, in whose session.
  const sdkFirst = fromGateway ? [...others, inner] : recordings;
  const content = recordings.find((call) => call.input.length > 0) ?? inner;
  const complete = inner.input.length > 0 && inner.output.length > 0;
  return {
    ...inner,
    parentSpanId: inner.parentSpanId,
    serviceName: first((call) => call.serviceName, sdkFirst),
    agentName: first((call) => call.agentName, sdkFirst),
    conversationKey: first((call) => call.conversationKey, sdkFirst),
    subject: first((call) => call.subject, sdkFirst),
    consent: consentOf(recordings),
    damage: [...new Set(recordings.flatMap((call) => (complete && call !== inner ? call.damage.filter(isLeak) : call.damage)))].toSorted(),
    provider: first((call) => call.provider),
    requestModel: first((call) => call.requestModel),
    responseModel: first((call) => call.responseModel),
    responseId: first((call) => call.responseId),
    input: content.input,
    output: first((call) => (call.output.length > 0 ? call.output : null)) ?? [],
    tools: fromGateway ? inner.tools : (first((call) => call.tools) ?? toolsOfAgent(inner, spans)),
    finishReasons: first((call) => (call.finishReasons.length > 0 ? call.finishReasons : null)) ?? [],
    usage: Object.assign({}, ...recordings.toReversed().map((call) => call.usage)),
    sampling: Object.assign({}, ...recordings.toReversed().map((call) => call.sampling)),
    adapterDigest: first((call) => call.adapterDigest),
    assignment: first((call) => call.assignment),
    recordedBy: recordings.map(({ traceId, spanId }) => ({ traceId, spanId })),
    dialects: [...new Set(recordings.map((call) => call.dialect).filter((dialect) => dialect !== ""))].toSorted(),
    fromGateway,
    insideTool: first((call) => nearest(call, spans, "tool")),
  };
}

/** Text that should not have been stored counts wherever it was recorded. */
function isLeak(damage: string): boolean {
  return damage === "pii_unredacted";
}

function consentOf(calls: readonly Call[]): boolean | null {
  if (calls.some((call) => call.consent === false)) return false;
  return calls.some((call) => call.consent === true) ? true : null;
}

function isGateway(call: InferenceCall | undefined): boolean {
  return call !== undefined && (call.assignment !== null || call.adapterDigest !== null);
}

/** Microsoft's Agent Framework and Strands tell the tools of the agent, on the span around its calls. */
function toolsOfAgent(call: InferenceCall, spans: SpanIndex): InferenceCall["tools"] {
  for (const at of ancestors(call, spans)) {
    if (at.kind === "tool") return null;
    if (at.kind === "structure" && at.tools !== undefined) return at.tools;
  }
  return null;
}

/** The nearest span around a call of the asked kind. The way to an inference span ends at a tool: beyond it another agent is thinking. */
function nearest<K extends "inference" | "tool">(call: Call, spans: SpanIndex, kind: K): Extract<Call, { kind: K }> | null {
  for (const at of ancestors(call, spans)) {
    if (at.kind === kind) return at as Extract<Call, { kind: K }>;
    if (at.kind === "tool") return null;
  }
  return null;
}

/** The spans around a call, the nearest first, as far as is asked. A hostile sender can write parents in a circle. */
function* ancestors(call: Call, spans: SpanIndex): Generator<Call> {
  const seen = new Set([call]);
  for (let at = parentOf(call, spans); at !== null && !seen.has(at); at = parentOf(at, spans)) {
    seen.add(at);
    yield at;
  }
}

function parentOf(call: Call, spans: SpanIndex): Call | null {
  return call.parentSpanId === null ? null : (spans.get(spanKey(call.traceId, call.parentSpanId)) ?? null);
}

/** By start, then by ids, so that the order of arrival never shows. */
export function byStart(a: Call | undefined, b: Call | undefined): number {
  if (a === undefined || b === undefined) return 0;
  if (a.startNs !== b.startNs) return a.startNs < b.startNs ? -1 : 1;
  return spanKey(a.traceId, a.spanId) < spanKey(b.traceId, b.spanId) ? -1 : 1;
}

function spanKey(traceId: string, spanId: string): string {
  return `${traceId}/${spanId}`;
}

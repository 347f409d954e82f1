import type { Call, InferenceCall, ToolCall } from "../../trace/call.ts";
import { isGateway, type Recordings, withoutCopies } from "./copies.ts";
import { type ItemReader, prefixHashes } from "./items.ts";
import { byStart, createSurroundings, type SpanIndex } from "./spans.ts";

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

/**
 * The model calls of a conversation, each once, in the order of their starts. A wrapper (an inference span around other inference spans) is never a call of
 * its own: it fills the blanks of the inner span with the same answer, or of the last one. Unrelated spans with the same response id and the same answer may be
 * one call as well (gateway and SDK in separate traces); the id alone proves nothing, because vLLM takes it from the client.
 */
export function mergeCalls(calls: readonly Call[], spans: SpanIndex, read: ItemReader): MergedCall[] {
  const inferences = calls.filter((call) => call.kind === "inference");
  const around = aroundCalls(spans);
  const inside = Map.groupBy(inferences, around.wrapperOf);
  const answerOf = (call: InferenceCall) => prefixHashes(read(call.output)).at(-1) ?? "";

  const wrapped = new Map<InferenceCall, InferenceCall>();
  for (const wrapper of inferences) {
    const inner = inside.get(wrapper)?.toSorted(byStart);
    const match = inner?.findLast((call) => sameAnswer(call, wrapper, answerOf)) ?? inner?.at(-1);
    if (match !== undefined) wrapped.set(match, wrapper);
  }
  const leaves = inferences.filter((call) => !inside.has(call)).map((leaf) => withWrappers(leaf, wrapped));
  return withoutCopies(leaves, read)
    .map((recordings) => merge(recordings, around))
    .toSorted(byStart);
}

type Around = ReturnType<typeof aroundCalls>;

/** What lies around calls. The way out ends at a tool: beyond it another agent is thinking. */
function aroundCalls(spans: SpanIndex) {
  const wrapperOrTool = createSurroundings(spans, ({ kind }) => kind !== "structure");
  const tool = createSurroundings(spans, ({ kind }) => kind === "tool");
  const offering = createSurroundings(spans, (at) => at.kind === "tool" || (at.kind === "structure" && at.tools !== undefined));
  return {
    wrapperOf: (call: Call): InferenceCall | null => {
      const found = wrapperOrTool(call);
      return found?.kind === "inference" ? found : null;
    },
    toolAround: (call: Call): ToolCall | null => {
      const found = tool(call);
      return found?.kind === "tool" ? found : null;
    },
    /** Microsoft's Agent Framework and Strands tell the tools of the agent, on the span around its calls. */
    toolsOfAgent: (call: Call): InferenceCall["tools"] => {
      const found = offering(call);
      return found?.kind === "structure" ? (found.tools ?? null) : null;
    },
  };
}

function withWrappers(leaf: InferenceCall, wrapped: ReadonlyMap<InferenceCall, InferenceCall>): Recordings {
  const recordings: Recordings = [leaf];
  for (let outer = wrapped.get(leaf); outer !== undefined; outer = wrapped.get(outer)) recordings.push(outer);
  return recordings;
}

function sameAnswer(one: InferenceCall, other: InferenceCall, answerOf: (call: InferenceCall) => string): boolean {
  return (one.responseId !== null && one.responseId === other.responseId) || (one.output.length > 0 && answerOf(one) === answerOf(other));
}

function merge(recordings: Recordings, around: Around): MergedCall {
  const [inner, ...others] = recordings;
  const fromGateway = isGateway(inner);
  const first = <T>(pick: (call: InferenceCall) => T | null | undefined, order: readonly InferenceCall[] = recordings): T | null =>
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
    tools: fromGateway ? inner.tools : (first((call) => call.tools) ?? around.toolsOfAgent(inner)),
    finishReasons: first((call) => (call.finishReasons.length > 0 ? call.finishReasons : null)) ?? [],
    usage: recordings.reduceRight((all, { usage }) => Object.assign(all, usage), {}),
    sampling: recordings.reduceRight((all, { sampling }) => Object.assign(all, sampling), {}),
    adapterDigest: first((call) => call.adapterDigest),
    assignment: first((call) => call.assignment),
    recordedBy: recordings.map(({ traceId, spanId }) => ({ traceId, spanId })),
    dialects: [...new Set(recordings.map((call) => call.dialect).filter((dialect) => dialect !== ""))].toSorted(),
    fromGateway,
    insideTool: first(around.toolAround),
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

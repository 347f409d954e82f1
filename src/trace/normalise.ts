import { ATTRIBUTE } from "../telemetry.ts";
import type { Assignment, Call, Damage } from "./call.ts";
import { aiSdk } from "./dialects/ai-sdk.ts";
import type { Dialect, Reading } from "./dialects/dialect.ts";
import { numberAt, textAt } from "./dialects/fields.ts";
import { genai } from "./dialects/genai.ts";
import { googleAdk } from "./dialects/google-adk.ts";
import { langchain } from "./dialects/langchain.ts";
import { langfuse } from "./dialects/langfuse.ts";
import { langsmith } from "./dialects/langsmith.ts";
import { mlflow } from "./dialects/mlflow.ts";
import { openaiLogEvents } from "./dialects/openai-log-events.ts";
import { openinference } from "./dialects/openinference.ts";
import { pydanticAi } from "./dialects/pydantic-ai.ts";
import { spanEventDetails } from "./dialects/span-event-details.ts";
import { spanEvents } from "./dialects/span-events.ts";
import { traceloop } from "./dialects/traceloop.ts";
import { CONVERSATION_ATTRIBUTES, SESSION_ATTRIBUTES, SUBJECT_ATTRIBUTES } from "./identity.ts";
import type { Attributes, LogEvent, Span } from "./span.ts";

/** Most specific first: where two dialects have the same field, the earlier one's stands. */
const DIALECTS: readonly Dialect[] = [
  googleAdk,
  openaiLogEvents,
  spanEvents,
  spanEventDetails,
  langchain,
  openinference,
  langsmith,
  langfuse,
  aiSdk,
  traceloop,
  mlflow,
  pydanticAi,
  genai,
];

/**
 * Translates a span and its log events to the canonical form, whichever dialects they speak. Pure; never throws on what a sender wrote.
 * `dialect` names every dialect that contributed a field, the most specific first, joined by "+"; empty for a span of no dialect.
 * @param logs the events of this span; others are ignored
 */
export function normalise(span: Span, logs: readonly LogEvent[]): Call {
  const own = logs.filter((log) => log.spanId === span.spanId && log.traceId === span.traceId);
  const readings: Reading[] = [];
  const names: string[] = [];
  const merged: Reading = {};
  for (const dialect of DIALECTS) {
    const reading = dialect.read(span, own);
    if (reading === null) continue;
    readings.push(reading);
    if (fill(merged, reading)) names.push(dialect.name);
  }
  return callOf(span, merged, { dialect: names.join("+"), damage: damageOf(span, own, readings) });
}

/** Puts the fields that `merged` lacks from `reading` into it; answers whether there were any. An empty message list counts as lacking. */
function fill(merged: Reading, reading: Reading): boolean {
  let contributed = false;
  for (const [field, value] of Object.entries(reading) as [keyof Reading, Reading[keyof Reading]][]) {
    if (field === "damage" || field === "kind" || field === "eventsToldElsewhere" || value === undefined || hasContent(merged[field]))
      continue;
    Object.assign(merged, { [field]: value });
    contributed = true;
  }
  // Any dialect that knows an inference or a tool knows better than one that sees only structure.
  if (reading.kind !== undefined && (merged.kind === undefined || merged.kind === "structure") && merged.kind !== reading.kind) {
    merged.kind = reading.kind;
    contributed = true;
  }
  return contributed;
}

function hasContent(value: unknown): boolean {
  return value !== undefined && !(Array.isArray(value) && value.length === 0);
}

function callOf(span: Span, reading: Reading, about: { dialect: string; damage: Damage[] }): Call {
  const errorType = textAt(span.attributes, "error.type") ?? exceptionType(span) ?? null;
  const base = {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    startNs: span.startNs,
    endNs: span.endNs,
    ...about,
    ...identityOf(span, reading),
    errorType,
    ...httpMethodOf(span.attributes),
  };
  if (reading.kind === "tool") {
    return {
      ...base,
      kind: "tool",
      toolName: reading.toolName ?? span.name,
      toolCallId: reading.toolCallId ?? null,
      arguments: reading.arguments,
      result: reading.result,
      isError: span.statusCode === STATUS_ERROR || errorType !== null,
    };
  }
  if (reading.kind !== "inference") return { ...base, kind: "structure", name: span.name, ...(reading.tools && { tools: reading.tools }) };
  return {
    ...base,
    kind: "inference",
    provider: reading.provider ?? null,
    requestModel: reading.requestModel ?? null,
    responseModel: reading.responseModel ?? null,
    responseId: reading.responseId ?? null,
    input: reading.input ?? [],
    output: reading.output ?? [],
    tools: reading.tools ?? null,
    finishReasons: reading.finishReasons ?? [],
    usage: reading.usage ?? {},
    sampling: reading.sampling ?? {},
    adapterDigest: textAt(span.attributes, ATTRIBUTE.adapter) ?? null,
    assignment: assignmentOf(span.attributes),
  };
}

const STATUS_ERROR = 2;

/** `http.method` until the HTTP conventions became stable. What is no verb of HTTP is named `_OTHER` by the conventions. */
function httpMethodOf(attributes: Attributes): Pick<Call, "httpMethod"> {
  const method = textAt(attributes, "http.request.method") ?? textAt(attributes, "http.method");
  return method === undefined || !/^[A-Za-z_]{1,16}$/.test(method) ? {} : { httpMethod: method.toUpperCase() };
}

const CONVERSATION_KEYS = [...CONVERSATION_ATTRIBUTES, ...SESSION_ATTRIBUTES];

function identityOf(span: Span, reading: Reading) {
  const either = (keys: readonly string[]): string | null => {
    for (const key of keys) {
      const found = textAt(span.attributes, key) ?? textAt(span.resource, key);
      if (found !== undefined) return found;
    }
    return null;
  };
  return {
    serviceName: textAt(span.resource, "service.name") ?? null,
    agentName: reading.agentName ?? textAt(span.resource, "gen_ai.agent.name") ?? null,
    conversationKey: reading.conversationKey ?? either(CONVERSATION_KEYS),
    subject: reading.subject ?? either(SUBJECT_ATTRIBUTES),
    consent: consentOf(span.attributes[ATTRIBUTE.consent] ?? span.resource[ATTRIBUTE.consent]),
  };
}

/** Unset is not "no": the tenant's default decides then. Anything that is set and not a plain yes is a no. */
function consentOf(value: unknown): boolean | null {
  if (value === undefined || value === null) return null;
  return value === true || value === "true" || value === "allow";
}

function assignmentOf(attributes: Attributes): Assignment | null {
  const key = textAt(attributes, ATTRIBUTE.assignmentKey);
  const arm = attributes[ATTRIBUTE.assignmentArm];
  const probability = numberAt(attributes, ATTRIBUTE.assignmentProbability);
  if (key === undefined || probability === undefined || (arm !== "stable" && arm !== "candidate")) return null;
  return {
    experimentId: textAt(attributes, ATTRIBUTE.experiment) ?? null,
    key,
    weakKey: attributes[ATTRIBUTE.assignmentWeak] === true,
    arm,
    probability,
    routeVersion: numberAt(attributes, ATTRIBUTE.routeVersion) ?? 0,
  };
}

function exceptionType(span: Span): string | undefined {
  const exception = span.events.find((event) => event.name === "exception");
  return exception === undefined ? undefined : textAt(exception.attributes, "exception.type");
}

/** OpenLLMetry marks every chunk of a stream by an empty event: an answer of more than 128 chunks loses marks, and nothing else. */
const CHUNK_MARKS: ReadonlySet<string> = new Set(["llm.content.completion.chunk", "gen_ai.content.completion.chunk"]);

function damageOf(span: Span, logs: readonly LogEvent[], readings: readonly Reading[]): Damage[] {
  const damage = new Set(readings.flatMap((reading) => reading.damage ?? []));
  if (span.droppedAttributes > 0) damage.add("dropped_attributes");
  const areMarks = span.events.length > 0 && span.events.every((event) => CHUNK_MARKS.has(event.name));
  const isTold = areMarks || readings.some((reading) => reading.eventsToldElsewhere === true);
  if (span.droppedEvents > 0 && !isTold) damage.add("dropped_events");
  const flagged = [span.attributes, span.resource, ...logs.map((log) => log.attributes)];
  if (flagged.some((attributes) => attributes[ATTRIBUTE.piiUnredacted] === true)) damage.add("pii_unredacted");
  return [...damage].sort();
}

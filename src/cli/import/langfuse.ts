import { isRecord } from "../../trace/json.ts";
import { contentOf } from "./langfuse-content.ts";
import { samplingOf } from "./openai.ts";
import { hashedId, requestsOf, type AttributeValues, type EventSpec, type Requests, type SpanSpec } from "./span.ts";
import { invalid, pick, pickNumber, pickObject, pickText, timeOf } from "./values.ts";

type Row = Readonly<Record<string, unknown>>;

/** What an observation's type means in the GenAI conventions; the others give structure only. */
const OPERATION: Readonly<Record<string, string>> = {
  GENERATION: "chat",
  TOOL: "execute_tool",
  AGENT: "invoke_agent",
  EMBEDDING: "embeddings",
};
const TYPES: ReadonlySet<string> = new Set([...Object.keys(OPERATION), "SPAN", "EVENT", "CHAIN", "RETRIEVER", "EVALUATOR", "GUARDRAIL"]);

/** Rows of the API and of exports from its pages are in camelCase, those of exports to blob storage in snake_case. */
export function isLangfuse(record: Row): boolean {
  return isWhole(record) || isObservation(record) || isScore(record) || isTrace(record);
}

/**
 * A trace with its observations, an observation, a trace or a score, each by itself: what belongs together is found by its ids in the store, so neither the order
 * of the rows nor the file that they are in matters. @throws BadRecord
 */
export function convertLangfuse(record: Row): Requests {
  const spans: SpanSpec[] = [];
  const events: EventSpec[] = [];
  const take = (row: Row): void => {
    if (isWhole(row)) takeWhole(row, take);
    else if (isObservation(row)) spans.push(observationSpan(row));
    else if (isScore(row)) events.push(scoreEvent(row));
    else if (isTrace(row)) spans.push(traceSpan(row));
    else throw invalid("it is neither a trace nor an observation nor a score", row);
  };
  take(record);
  return requestsOf(spans, events);
}

/** A trace with its observations in it (`GET /traces/{id}`) or beside it (a trace that was downloaded in the browser). */
function isWhole(row: Row): boolean {
  return Array.isArray(row["observations"]) && row["observations"].every(isRecord) && (isRecord(row["trace"]) || isTrace(row));
}

function takeWhole(row: Row, take: (row: Row) => void): void {
  const { observations, scores, trace, ...own } = row;
  const whole = isRecord(trace) ? trace : own;
  take({ ...whole, observations: undefined });
  const traceId = pick(whole, "id");
  for (const inner of observations as Row[]) take({ traceId, ...inner });
  for (const inner of Array.isArray(scores) ? scores.filter(isRecord) : []) {
    const guessed = pickNumber(inner, "value") === undefined ? "CATEGORICAL" : "NUMERIC";
    const score = { traceId, ...inner, dataType: pickText(inner, "dataType", "data_type") ?? guessed };
    if (isScore(score)) take(score);
  }
}

function isObservation(row: Row): boolean {
  const type = row["type"];
  const isTyped = typeof type === "string" && TYPES.has(type.toUpperCase());
  return isTyped && pickText(row, "traceId", "trace_id") !== undefined && pick(row, "startTime", "start_time") !== undefined;
}

function isTrace(row: Row): boolean {
  return typeof row["id"] === "string" && pick(row, "timestamp") !== undefined && row["messages"] === undefined && !isScore(row);
}

/** A category has a number only where the score's config gives it one, and a text has none. */
function isScore(row: Row): boolean {
  const isNamed = pickText(row, "name") !== undefined && pickText(row, "dataType", "data_type") !== undefined;
  return isNamed && ["value", "stringValue", "string_value"].some((field) => field in row);
}

function observationSpan(row: Row): SpanSpec {
  const trace = traceName(row);
  const id = requireText(row, "id");
  const type = String(row["type"]).toUpperCase();
  const startNs = requireTime(row, "startTime", "start_time");
  const parent = pickText(row, "parentObservationId", "parent_observation_id");
  const failed = row["level"] === "ERROR";
  return {
    traceId: traceIdOf(trace),
    spanId: spanIdOf(trace, id),
    parentSpanId: parent === undefined ? undefined : spanIdOf(trace, parent),
    name: pickText(row, "name") ?? type.toLowerCase(),
    startNs,
    endNs: timeOf(pick(row, "endTime", "end_time"), "endTime") ?? startNs,
    failure: failed ? (pickText(row, "statusMessage", "status_message") ?? "error") : undefined,
    attributes: { "gen_ai.operation.name": OPERATION[type], ...subjectOf(row), ...attributesOf(type, row) },
    resource: resourceOf(row),
  };
}

/** The trace itself, which says whose it is: a span without content, beside the observations that have no parent. */
function traceSpan(row: Row): SpanSpec {
  const trace = requireText(row, "id");
  const at = requireTime(row, "timestamp");
  return {
    traceId: traceIdOf(trace),
    spanId: hashedId(8, "langfuse", trace),
    name: pickText(row, "name") ?? "trace",
    startNs: at,
    endNs: at,
    attributes: subjectOf(row),
    resource: resourceOf(row),
  };
}

function scoreEvent(row: Row): EventSpec {
  const trace = pickText(row, "traceId", "trace_id");
  if (trace === undefined) throw invalid("traceId: a score without a trace cannot be joined", row["traceId"]);
  const observation = pickText(row, "observationId", "observation_id");
  const type = pickText(row, "dataType", "data_type");
  const written = pick(row, "value");
  const label = pickText(row, "stringValue", "string_value") ?? (typeof written === "string" ? written : undefined);
  const value = pickNumber(row, "value");
  return {
    traceId: traceIdOf(trace),
    spanId: observation === undefined ? undefined : spanIdOf(trace, observation),
    name: "gen_ai.evaluation.result",
    timeNs: requireTime(row, "timestamp", "createdAt", "created_at"),
    attributes: {
      "gen_ai.evaluation.name": pickText(row, "name"),
      "gen_ai.evaluation.score.value": type === "NUMERIC" ? value : undefined,
      "gen_ai.evaluation.score.label":
        type === "NUMERIC" ? undefined : type === "BOOLEAN" && value !== undefined ? String(value === 1) : label,
      "gen_ai.evaluation.explanation": pickText(row, "comment"),
    },
  };
}

function attributesOf(type: string, row: Row): AttributeValues {
  if (type === "AGENT") return { "gen_ai.agent.name": pickText(row, "name") };
  const content = contentOf(type, row);
  if (type !== "GENERATION") return content;
  const parameters = pickObject(row, "modelParameters", "model_parameters");
  const usage = { ...pickObject(row, "usage"), ...pickObject(row, "usageDetails", "usage_details") };
  const model = pickText(row, "providedModelName", "provided_model_name", "model");
  return {
    ...content,
    "gen_ai.request.model": model,
    "gen_ai.response.model": model,
    "gen_ai.usage.input_tokens": pickNumber(usage, "input", "promptTokens"),
    "gen_ai.usage.output_tokens": pickNumber(usage, "output", "completionTokens"),
    ...samplingOf(parameters),
  };
}

function subjectOf(row: Row): AttributeValues {
  return { "session.id": pickText(row, "sessionId", "session_id"), "user.id": pickText(row, "userId", "user_id") };
}

/** Langfuse keeps what OpenTelemetry said about the sender among the metadata. */
function resourceOf(row: Row): AttributeValues {
  const metadata = pickObject(row, "metadata");
  return { "service.name": pickText(pickObject(metadata, "resourceAttributes"), "service.name") };
}

function traceName(row: Row): string {
  return requireText(row, "traceId", "trace_id");
}

/** Never Langfuse's own ids, even where they are OTLP's: what was captured live from the same agent would be overwritten by less. */
function traceIdOf(trace: string): string {
  return hashedId(16, "langfuse", trace);
}

function spanIdOf(trace: string, observation: string): string {
  return hashedId(8, "langfuse", trace, observation);
}

function requireText(row: Row, ...names: readonly string[]): string {
  const found = pickText(row, ...names);
  if (found === undefined) throw invalid(`${names[0]} is missing`, pick(row, ...names));
  return found;
}

function requireTime(row: Row, ...names: readonly string[]): bigint {
  const found = timeOf(pick(row, ...names), names[0] ?? "");
  if (found === undefined) throw invalid(`${names[0]} is missing`, pick(row, ...names));
  return found;
}

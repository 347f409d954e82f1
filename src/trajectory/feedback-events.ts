import type { Kysely } from "kysely";
import { storableText } from "../store/storable.ts";
import type { Tables } from "../store/tables.ts";
import type { LogEvent, Span } from "../trace/span.ts";
import { annotationsIn, judgedValue, shortText } from "./annotations.ts";
import { type Feedback, recordFeedback } from "./feedback.ts";

const EVALUATION_EVENT = "gen_ai.evaluation.result";

/** Takes feedback out of telemetry: `gen_ai.evaluation.result`, as a log event or as a span's event, and OpenInference's annotations and evaluations. */
export async function recordFeedbackEvents(
  trx: Kysely<Tables>,
  arrivals: { tenant: string; spans: readonly Span[]; logs: readonly LogEvent[] },
): Promise<void> {
  const ofLogs = arrivals.logs.filter((log) => log.eventName === EVALUATION_EVENT);
  const ofSpans = arrivals.spans.flatMap(({ traceId, spanId, scope, events }) =>
    events.filter(({ name }) => name === EVALUATION_EVENT).map((event) => ({ ...event, traceId, spanId, scope })),
  );
  const events = [...ofLogs, ...ofSpans].map((event) => feedbackIn(arrivals.tenant, event)).filter((item) => item !== null);
  const annotations = arrivals.spans.flatMap((span) => annotationsIn(arrivals.tenant, span));
  await recordFeedback(trx, [...events, ...annotations]);
}

function feedbackIn(tenant: string, event: Pick<LogEvent, "attributes" | "timeNs" | "traceId" | "spanId" | "scope">): Feedback | null {
  const text = (name: string): string | null => shortText(event.attributes[name]);
  const name = text("gen_ai.evaluation.name");
  const value = judgedValue(event.attributes["gen_ai.evaluation.score.value"], text("gen_ai.evaluation.score.label"));
  const target = targetOf(event, text("gen_ai.response.id"));
  if (name === null || value === null || target === null) return null;
  const explanation = event.attributes["gen_ai.evaluation.explanation"];
  return {
    tenant,
    ...target,
    name,
    source: event.scope.name === "" ? "telemetry" : event.scope.name,
    value,
    ...(typeof explanation === "string" && explanation !== "" ? { explanation: storableText(explanation) } : {}),
    atMs: Number(event.timeNs / 1_000_000n),
  };
}

function targetOf(
  { traceId, spanId }: Pick<LogEvent, "traceId" | "spanId">,
  responseId: string | null,
): Pick<Feedback, "targetKind" | "target"> | null {
  if (responseId !== null) return { targetKind: "response", target: responseId };
  if (traceId !== null && spanId !== null) return { targetKind: "span", target: `${traceId}/${spanId}` };
  return traceId === null ? null : { targetKind: "trace", target: traceId };
}

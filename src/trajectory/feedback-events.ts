import type { Kysely } from "kysely";
import { storableText } from "../store/storable.ts";
import type { Tables } from "../store/tables.ts";
import type { LogEvent, Span } from "../trace/span.ts";
import { type Feedback, recordFeedback } from "./feedback.ts";

const EVALUATION_EVENT = "gen_ai.evaluation.result";
/** Labels that mean yes or no; others stay text. */
const YES_OR_NO: Readonly<Record<string, boolean>> = { true: true, pass: true, yes: true, false: false, fail: false, no: false };

/** Takes feedback out of telemetry: `gen_ai.evaluation.result`, as a log event or as a span's event. */
export async function recordFeedbackEvents(
  trx: Kysely<Tables>,
  arrivals: { tenant: string; spans: readonly Span[]; logs: readonly LogEvent[] },
): Promise<void> {
  const ofLogs = arrivals.logs.filter((log) => log.eventName === EVALUATION_EVENT);
  const ofSpans = arrivals.spans.flatMap(({ traceId, spanId, scope, events }) =>
    events.filter(({ name }) => name === EVALUATION_EVENT).map((event) => ({ ...event, traceId, spanId, scope })),
  );
  const feedback = [...ofLogs, ...ofSpans].map((event) => feedbackIn(arrivals.tenant, event)).filter((item) => item !== null);
  await recordFeedback(trx, feedback);
}

function feedbackIn(tenant: string, event: Pick<LogEvent, "attributes" | "timeNs" | "traceId" | "spanId" | "scope">): Feedback | null {
  const text = (name: string): string | null => {
    const value = event.attributes[name];
    return typeof value === "string" && value !== "" ? storableText(value).slice(0, 512) : null;
  };
  const name = text("gen_ai.evaluation.name");
  const score = event.attributes["gen_ai.evaluation.score.value"];
  const label = text("gen_ai.evaluation.score.label");
  const value = typeof score === "number" && Number.isFinite(score) ? score : label && (YES_OR_NO[label.toLowerCase()] ?? label);
  const target = targetOf(event, text("gen_ai.response.id"));
  if (name === null || value === null || target === null) return null;
  const explanation = text("gen_ai.evaluation.explanation");
  return {
    tenant,
    ...target,
    name,
    source: event.scope.name === "" ? "telemetry" : event.scope.name,
    value,
    ...(explanation === null ? {} : { explanation }),
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

import { numberAt, textAt } from "./dialects/fields.ts";
import type { LogEvent } from "./span.ts";

/** Feedback as it arrives in telemetry: the event `gen_ai.evaluation.result`, the standard carrier for what users and checks think of an answer. */
export interface FeedbackEvent {
  name: string;
  /** The span that is judged, or the response where the sender knew no span. */
  target: { kind: "span"; traceId: string; spanId: string } | { kind: "response"; responseId: string };
  /** The score; the label where there is no score. Labels that mean yes or no become booleans. */
  value: number | boolean | string;
  explanation: string | null;
  timeNs: bigint;
}

const EVENT = "gen_ai.evaluation.result";
const LABELS: Readonly<Record<string, boolean>> = { true: true, pass: true, yes: true, false: false, fail: false, no: false };

/** Null for other events, and for an evaluation without a name, a value or a target. */
export function feedbackOf(log: LogEvent): FeedbackEvent | null {
  if (log.eventName !== EVENT) return null;
  const name = textAt(log.attributes, "gen_ai.evaluation.name");
  const score = numberAt(log.attributes, "gen_ai.evaluation.score.value");
  const label = textAt(log.attributes, "gen_ai.evaluation.score.label");
  const value = score ?? (label === undefined ? undefined : (LABELS[label.toLowerCase()] ?? label));
  const target = targetOf(log);
  if (name === undefined || value === undefined || target === null) return null;
  return { name, target, value, explanation: textAt(log.attributes, "gen_ai.evaluation.explanation") ?? null, timeNs: log.timeNs };
}

function targetOf(log: LogEvent): FeedbackEvent["target"] | null {
  const responseId = textAt(log.attributes, "gen_ai.response.id");
  if (log.traceId !== null && log.spanId !== null) return { kind: "span", traceId: log.traceId, spanId: log.spanId };
  return responseId === undefined ? null : { kind: "response", responseId };
}

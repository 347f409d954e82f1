import { indexableText } from "../store/storable.ts";
import type { LogEvent, Span } from "../trace/span.ts";

/** Where SDKs write the end user, on spans, log events or their resource. */
const SUBJECT_ATTRIBUTES = [
  "user.id",
  "enduser.id",
  "langfuse.user.id",
  "langsmith.metadata.user_id",
  "traceloop.association.properties.user_id",
  "ai.telemetry.metadata.userId",
  "ai.settings.context.userId",
];

/** The end users that a record names, as they are stored; usually one or none. */
export function subjectsIn({ attributes, resource }: Span | LogEvent): string[] {
  const found = [attributes, resource].flatMap((all) =>
    SUBJECT_ATTRIBUTES.flatMap((name) => {
      const value = all[name];
      const text = typeof value === "string" || typeof value === "number" || typeof value === "bigint" ? String(value).trim() : "";
      return text === "" ? [] : [indexableText(text)];
    }),
  );
  return [...new Set(found)];
}

import { indexableText } from "../store/storable.ts";
import { SUBJECT_ATTRIBUTES } from "../trace/identity.ts";
import type { LogEvent, Span } from "../trace/span.ts";

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

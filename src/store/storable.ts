/**
 * Text that Postgres takes: no NUL, no lone surrogate. Both reach us from telemetry, and one of them in one span must not fail a whole batch.
 */
export function storableText(text: string): string {
  return text.toWellFormed().replaceAll("\0", "\uFFFD");
}

/** JSON text that Postgres takes, keys in their order. The check on the text spares the walk: hardly any value needs it. */
export function storableJson(value: unknown): string {
  const json = JSON.stringify(value) ?? "null";
  return /\\u(?:0000|d[89a-f])/i.test(json) ? JSON.stringify(clean(value)) : json;
}

function clean(value: unknown): unknown {
  if (typeof value === "string") return storableText(value);
  if (Array.isArray(value)) return value.map(clean);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [storableText(key), clean(item)]));
}

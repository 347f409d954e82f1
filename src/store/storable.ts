import { createHash } from "node:crypto";

/** Bytes of a text in an index: Postgres refuses an index row over 2,704 bytes, and ours have three such texts at most. */
const MAX_INDEXED_BYTES = 768;
const HASH_CHARACTERS = 32;

/**
 * Text that Postgres takes: no NUL, no lone surrogate. Both reach us from telemetry, and one of them in one span must not fail a whole batch.
 */
export function storableText(text: string): string {
  return text.toWellFormed().replaceAll("\0", "\uFFFD");
}

/** As `storableText`, for a column that an index holds. What is too long keeps its beginning and a hash of the whole, so that two stay two. */
export function indexableText(text: string): string {
  const whole = storableText(text);
  if (whole.length * 3 <= MAX_INDEXED_BYTES || Buffer.byteLength(whole) <= MAX_INDEXED_BYTES) return whole;
  // As a stream, the decoder keeps a character that is cut in the middle to itself.
  const beginning = new TextDecoder().decode(Buffer.from(whole).subarray(0, MAX_INDEXED_BYTES - HASH_CHARACTERS - 1), { stream: true });
  return `${beginning}~${createHash("sha256").update(whole).digest("hex").slice(0, HASH_CHARACTERS)}`;
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

import { isSafeKey } from "./attributes.ts";
import type { AttributeValue } from "./span.ts";

/**
 * An attribute as the JSON value that it stands for: SDKs write the same thing as a structured AnyValue or as a string of JSON.
 * `broken` is true when the string began as JSON and ended too early; `value` is then the string.
 */
export function jsonOf(value: AttributeValue | undefined): { value: unknown; broken: boolean } {
  if (typeof value !== "string") return { value: plain(value), broken: false };
  const trimmed = value.trimStart();
  if (!/^[[{"]/.test(trimmed)) return { value, broken: false };
  const parsed = tryJson(value);
  return parsed === undefined ? { value, broken: /^(?:\{\s*(?:"|$)|\[\s*(?:[[{"]|$)|")/.test(trimmed) } : { value: parsed, broken: false };
}

/** A tool's arguments or answer: objects and arrays are parsed, everything else stays the string that was sent. */
export function payloadOf(value: unknown): unknown {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value;
  const parsed = tryJson(value);
  return parsed === undefined ? value : parsed;
}

/** Parses JSON; undefined when it is none. Keys that reach a prototype are left out. */
export function tryJson(text: string): unknown {
  try {
    return text.includes("__proto__") || text.includes("constructor") || text.includes("prototype")
      ? JSON.parse(text, (key, value: unknown) => (isSafeKey(key) ? value : undefined))
      : JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

/** An attribute's value as JSON can hold it, which has neither bytes nor 64-bit integers; keys that reach a prototype are left out. */
export function plain(value: AttributeValue | undefined): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (Array.isArray(value)) return value.map((item: AttributeValue) => plain(item));
  if (isRecord(value))
    return Object.fromEntries(
      Object.entries(value)
        .filter(([key]) => isSafeKey(key))
        .map(([key, item]) => [key, plain(item)]),
    );
  return value;
}

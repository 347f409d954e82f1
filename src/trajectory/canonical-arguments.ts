import { hash } from "node:crypto";
import canonicalize from "canonicalize";
import type { ArgumentRole } from "./tool-profile.ts";

export type JsonSchema = Readonly<Record<string, unknown>>;

/** Arguments of one call in the one form that keys are made from. */
export interface CanonicalArguments {
  value: unknown;
  /** RFC 8785 JSON of `value`. */
  json: string;
}

/** Untrusted arguments nest; deeper than this is cut, so that no walk over them runs out of stack. */
const MAX_DEPTH = 64;

/**
 * Canonical form of a call's arguments: parsed where they came as JSON text, schema defaults dropped, values coerced by the schema ("25" / 25 / 25.0),
 * strings trimmed and NFC, keys in RFC 8785 order; arrays keep their order. Text that is no JSON stays text. Never throws.
 */
export function canonicalArguments(raw: unknown, schema?: JsonSchema): CanonicalArguments {
  const value = normalise(parsed(raw), schema, 0);
  return { value, json: rfc8785(value) };
}

/** RFC 8785 JSON of any value, with strings trimmed and NFC; for hashes and comparisons. Never throws. */
export function canonicalJson(value: unknown): string {
  return rfc8785(normalise(value, undefined, 0));
}

/** Identity of a call for answering it: tool and arguments, without clocks and nonces, which differ each time and mean nothing. */
export function callKeyOf(tool: string, value: unknown, roles: Readonly<Record<string, ArgumentRole>>): string {
  return keyOf(tool, without(value, roles, ["clock", "nonce"]));
}

/** Identity of a write in the state: as `callKeyOf`, and without free text, which does not say what was written. */
export function writeKeyOf(tool: string, value: unknown, roles: Readonly<Record<string, ArgumentRole>>): string {
  return keyOf(tool, without(value, roles, ["clock", "nonce", "freeText"]));
}

/** Both keys of a call: `callKeyOf`, and `writeKeyOf` by `writeRoles`, of arguments whose canonical JSON is known. */
export function keysOf(
  tool: string,
  args: CanonicalArguments,
  roles: Readonly<Record<string, ArgumentRole>>,
  writeRoles = roles,
): { callKey: string; writeKey: string } {
  const left = new Set(Object.values(roles));
  const isWhole = !left.has("clock") && !left.has("nonce");
  const callKey = isWhole ? keyOfText(tool, args.json) : callKeyOf(tool, args.value, roles);
  return { callKey, writeKey: left.has("freeText") ? writeKeyOf(tool, args.value, writeRoles) : callKey };
}

/** The value at a dotted path, or undefined. Only own properties count. */
export function valueAtPath(value: unknown, path: string): unknown {
  let node = value;
  for (const key of path.split(".")) {
    if (node === null || typeof node !== "object" || !Object.hasOwn(node, key)) return undefined;
    node = (node as Record<string, unknown>)[key];
  }
  return node;
}

/** A copy of `value` without what lies at the dotted `paths`; `*` stands for every key or element of a level. */
export function withoutPaths(value: unknown, paths: readonly string[]): unknown {
  return paths.reduce((rest, path) => dropPath(rest, path.split(".")), value);
}

/** The library throws on lone surrogates, NaN and cycles, which `normalise` has taken out. */
function rfc8785(value: unknown): string {
  // A string's form is JSON's own, and texts are most of what is written: the library looks through them letter by letter.
  return typeof value === "string" ? JSON.stringify(value) : (canonicalize(value) ?? "null");
}

function keyOf(tool: string, value: unknown): string {
  return keyOfText(tool, rfc8785(value));
}

function keyOfText(tool: string, json: string): string {
  return hash("sha256", `${tool}\n${json}`).slice(0, 32);
}

function without(value: unknown, roles: Readonly<Record<string, ArgumentRole>>, dropped: readonly ArgumentRole[]): unknown {
  const paths = Object.keys(roles).filter((path) => dropped.includes(roles[path] as ArgumentRole));
  return withoutPaths(value, paths);
}

function dropPath(value: unknown, [key, ...rest]: readonly string[]): unknown {
  if (value === null || typeof value !== "object" || key === undefined) return value;
  const matches = (name: string): boolean => key === "*" || name === key;
  if (Array.isArray(value)) {
    const items: unknown[] = value;
    return rest.length === 0 ? items : items.map((item, index) => (matches(String(index)) ? dropPath(item, rest) : item));
  }
  const entries = Object.entries(value);
  const kept = rest.length === 0 ? entries.filter(([name]) => !matches(name)) : entries;
  return Object.fromEntries(kept.map(([name, item]) => [name, matches(name) ? dropPath(item, rest) : item]));
}

function parsed(raw: unknown): unknown {
  if (typeof raw !== "string") return raw;
  try {
    return JSON.parse(raw) as unknown;
  } catch {
    return raw;
  }
}

function normalise(value: unknown, schema: JsonSchema | undefined, depth: number): unknown {
  if (depth > MAX_DEPTH) return null;
  if (Array.isArray(value)) return value.map((item: unknown) => normalise(item, child(schema, "items"), depth + 1));
  if (value !== null && typeof value === "object") return normaliseObject(value, schema, depth);
  const clean = typeof value === "string" ? value.toWellFormed().normalize("NFC").trim() : value;
  const coerced = coerce(clean, schema);
  if (coerced === undefined || typeof coerced === "bigint" || typeof coerced === "function" || typeof coerced === "symbol") return null;
  // OTLP doubles may be NaN or infinite, JSON numbers may not.
  return typeof coerced === "number" && !Number.isFinite(coerced) ? null : coerced;
}

function normaliseObject(value: object, schema: JsonSchema | undefined, depth: number): unknown {
  const properties = child(schema, "properties");
  // fromEntries defines own properties, so that an argument called __proto__ stays data.
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([name, item]): [string, unknown] => [name.toWellFormed().normalize("NFC"), normalise(item, child(properties, name), depth + 1)])
      .filter(([name, item]) => !isDefault(item, child(properties, name))),
  );
}

function child(schema: JsonSchema | undefined, key: string): JsonSchema | undefined {
  const found = schema !== undefined && Object.hasOwn(schema, key) ? schema[key] : undefined;
  return found !== null && typeof found === "object" && !Array.isArray(found) ? (found as JsonSchema) : undefined;
}

function isDefault(value: unknown, schema: JsonSchema | undefined): boolean {
  if (schema === undefined || !Object.hasOwn(schema, "default")) return false;
  return rfc8785(value) === rfc8785(normalise(schema["default"], schema, 0));
}

function coerce(value: unknown, schema: JsonSchema | undefined): unknown {
  const declared = schema?.["type"];
  const types: readonly unknown[] = Array.isArray(declared) ? declared : [declared];
  if (declared === undefined || types.includes(jsonType(value)) || value === null) return value;
  const numeric = types.includes("number") || types.includes("integer");
  if (typeof value === "string" && numeric && /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(value)) {
    const number = Number(value);
    // An id such as 12345678901234567890 would lose digits as a number: leave it alone.
    return Math.abs(number) <= Number.MAX_SAFE_INTEGER ? number : value;
  }
  if (typeof value === "string" && types.includes("boolean") && (value === "true" || value === "false")) return value === "true";
  if ((typeof value === "number" || typeof value === "boolean") && types.includes("string")) return String(value);
  return value;
}

function jsonType(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}

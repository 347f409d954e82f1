import { isRecord, payloadOf } from "../../trace/json.ts";
import type { RecordProblem } from "./file-record.ts";

/** A record that its converter cannot take; what says where it lies is added by whoever reads the file. */
export class BadRecord extends Error {
  readonly problem: RecordProblem;

  constructor(problem: RecordProblem) {
    super(problem.code);
    this.problem = problem;
  }
}

/** A value of another kind than the format has. Says the kind, never the value: it is somebody's conversation. */
export function invalid(problem: string, value: unknown): BadRecord {
  return new BadRecord({ code: "import_record_invalid", problem, received: kindOf(value) });
}

function kindOf(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "string") return value === "" ? "an empty text" : `a text of ${value.length} characters`;
  if (isRecord(value)) return describeKeys(Object.keys(value));
  return `a ${typeof value}`;
}

/** Names of fields are the format's, but a map may have anything for a key: few, short and plain ones only. */
function describeKeys(keys: readonly string[]): string {
  const plain = keys.filter((key) => /^[A-Za-z_][\w.-]{0,30}$/.test(key)).slice(0, 6);
  return plain.length === 0 ? "an object" : `an object with ${plain.join(", ")}${keys.length > plain.length ? ", …" : ""}`;
}

/** The first of these fields that is there: exports spell one name in several ways. */
export function pick(from: Readonly<Record<string, unknown>>, ...names: readonly string[]): unknown {
  for (const name of names) if (from[name] !== undefined && from[name] !== null && from[name] !== "") return from[name];
  return undefined;
}

export function pickText(from: Readonly<Record<string, unknown>>, ...names: readonly string[]): string | undefined {
  const value = pick(from, ...names);
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : undefined;
}

export function pickNumber(from: Readonly<Record<string, unknown>>, ...names: readonly string[]): number | undefined {
  const value = pick(from, ...names);
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) ? number : undefined;
}

/** An object that may have been written as a string of JSON; empty when there is none. */
export function pickObject(from: Readonly<Record<string, unknown>>, ...names: readonly string[]): Record<string, unknown> {
  const value = payloadOf(pick(from, ...names));
  return isRecord(value) ? value : {};
}

/** Earlier and later nanoseconds do not fit into OTLP's field, or are nobody's time. */
const MAX_MS = 4_102_444_800_000;

/**
 * A time in nanoseconds since the epoch: ISO 8601, ClickHouse's `2024-05-29 13:46:19.963000` (UTC), or a number of seconds, milliseconds, microseconds or
 * nanoseconds, told apart by its size. @throws BadRecord
 */
export function timeOf(value: unknown, field: string): bigint | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  const ns = typeof value === "number" ? fromNumber(value) : typeof value === "string" ? fromText(value) : null;
  if (ns === null || ns <= 0n || ns > BigInt(MAX_MS) * 1_000_000n) throw invalid(`${field} is no time`, value);
  return ns;
}

function fromNumber(value: number): bigint | null {
  if (!Number.isFinite(value) || value <= 0) return null;
  const perSecond = [1, 1e3, 1e6, 1e9].find((unit) => value / unit < 1e11);
  return perSecond === undefined ? null : BigInt(Math.round((value / perSecond) * 1e6)) * 1_000n;
}

function fromText(value: string): bigint | null {
  const match = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:[.,](\d{1,9}))?\d*(Z|[+-]\d{2}:?\d{2})?$/.exec(value.trim());
  if (match === null) return /^\d{1,19}(?:\.\d+)?$/.test(value.trim()) ? fromNumber(Number(value)) : null;
  const [, date, time, fraction = "", zone = "Z"] = match;
  const ms = Date.parse(`${date}T${time}${zone}`);
  return Number.isNaN(ms) ? null : BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}

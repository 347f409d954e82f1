import { NightshiftError } from "../../errors.ts";
import { isRecord, tryJson } from "../../trace/json.ts";
import { encodeJsonRequest } from "../../trace/otlp-json.ts";
import { scanRequest, type Scan } from "../../trace/scan.ts";
import { concatBytes, type Signal } from "../../trace/wire.ts";
import { convertLangfuse, isLangfuse } from "./langfuse.ts";
import { convertOpenai, isOpenai } from "./openai.ts";
import type { FileRecord } from "./file-record.ts";
import type { Requests } from "./span.ts";
import { BadRecord, invalid } from "./values.ts";

export const FORMATS = ["otlp", "langfuse", "openai"] as const;
export type Format = (typeof FORMATS)[number];

/** A record as what the collector takes. */
export interface Converted {
  format: Format;
  requests: Requests;
}

const SIGNALS = [
  ["traces", "resourceSpans"],
  ["logs", "resourceLogs"],
] as const;

/**
 * Translates one record of a file. Pure: the same bytes give the same requests, whatever lies around them.
 * @param options.format what the record must be; without it its fields tell
 * @throws BadRecord
 */
export function convert(
  record: Exclude<FileRecord, { kind: "broken" }>,
  options: { format?: Format | undefined; defaultMs: number },
): Converted {
  try {
    return record.kind === "protobuf" ? fromProtobuf(record.bytes, options.format) : fromJson(record.bytes, options);
  } catch (error) {
    if (error instanceof NightshiftError) throw new BadRecord({ code: "import_record_unreadable", problem: error.message });
    // Only depth can exhaust the stack here: thousands of brackets in a few kilobytes.
    if (error instanceof RangeError) throw new BadRecord({ code: "import_record_unreadable", problem: "its values are nested too deeply" });
    throw error;
  }
}

function fromProtobuf(bytes: Uint8Array, format: Format | undefined): Converted {
  if (format !== undefined && format !== "otlp") {
    throw new BadRecord({ code: "import_record_unreadable", problem: `it is protobuf, and ${format} is JSON` });
  }
  if (bytes.length === 0) return { format: "otlp", requests: {} };
  // Both signals wrap their records in the same numbers; only the records tell.
  const scans = SIGNALS.map(([signal]) => ({ signal, scan: scanOrNull(bytes, signal) }));
  const found = scans.find(({ scan }) => scan !== null && scan.accepted > 0) ?? scans.find(({ scan }) => scan !== null);
  if (found !== undefined) return { format: "otlp", requests: { [found.signal]: bytes } };
  throw new BadRecord({ code: "import_record_unreadable", problem: "it is no OTLP request of spans or log records" });
}

function scanOrNull(bytes: Uint8Array, signal: Signal): Scan | null {
  try {
    return scanRequest(bytes, signal);
  } catch {
    return null;
  }
}

function fromJson(bytes: Uint8Array, { format, defaultMs }: { format?: Format | undefined; defaultMs: number }): Converted {
  const value = parse(bytes);
  if (!isRecord(value)) throw invalid("a record is an object", value);
  const found = format ?? formatOf(value);
  if (found === null) throw invalid("it is none of the formats", value);
  if (found === "otlp") return { format: found, requests: fromOtlpJson(value, bytes) };
  const convertOne = (item: Record<string, unknown>): Requests =>
    found === "openai" ? convertOpenai(item, { defaultMs }) : convertLangfuse(item);
  return { format: found, requests: merged(pageOf(value)?.map(convertOne) ?? [convertOne(value)]) };
}

function parse(bytes: Uint8Array): unknown {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new BadRecord({ code: "import_record_unreadable", problem: "it is not valid UTF-8" });
  }
  const value = tryJson(text);
  if (value === undefined)
    throw new BadRecord({ code: "import_record_unreadable", problem: `it is not valid JSON (${text.length} characters)` });
  return value;
}

/** What a record is by its fields; null for none of ours. */
function formatOf(value: Record<string, unknown>): Format | null {
  if (["resourceSpans", "resourceLogs", "resourceMetrics"].some((name) => name in value)) return "otlp";
  const sample = pageOf(value)?.[0] ?? value;
  if (isOpenai(sample)) return "openai";
  return isLangfuse(sample) ? "langfuse" : null;
}

/** The items of a page of an API's list: `{"data": […], "meta": …}`. */
function pageOf(value: Record<string, unknown>): Record<string, unknown>[] | null {
  const { data } = value;
  return Array.isArray(data) && data.length > 0 && data.every(isRecord) ? data : null;
}

function fromOtlpJson(value: Record<string, unknown>, bytes: Uint8Array): Requests {
  const named = SIGNALS.filter(([, field]) => field in value);
  if (named.length === 0) throw invalid("it has neither resourceSpans nor resourceLogs", value);
  return Object.fromEntries(named.map(([signal]) => [signal, encodeJsonRequest(bytes, signal)]));
}

function merged(all: readonly Requests[]): Requests {
  const of = (signal: Signal): Requests => {
    const parts = all.flatMap((requests) => requests[signal] ?? []);
    return parts.length === 0 ? {} : { [signal]: concatBytes(parts) };
  };
  return { ...of("traces"), ...of("logs") };
}

import { nightshiftError } from "../errors.ts";
import { listRecords, rawSize, type RecordRange } from "./records.ts";
import { checkMessage, eachField, SHAPE, type Signal } from "./wire.ts";

/** What the receiver must know of a request, without decoding it. */
export interface Scan {
  /** Spans or log records that can be stored. */
  accepted: number;
  /** Spans or log records whose ids are missing, of the wrong length or all zero. */
  rejected: number;
  /** One line for the sender about the rejected ones; empty when there are none. */
  problem: string;
  /** The trace that all stored records belong to, in hex; null when they belong to several, or to none. */
  traceId: string | null;
}

/** What one request may be once every record carries its own resource and scope, as it is stored: a resource of 500 KB with 8,000 spans behind it would be 4 GB. */
const MAX_STORED_BYTES = 256 * 1024 * 1024;

const ID_FIELDS = { traces: { trace: 1, span: 2, required: true }, logs: { trace: 9, span: 10, required: false } } as const;

/**
 * Checks that the request is well-formed down to the last attribute and counts its records by whether their ids are usable.
 * A log record may come without ids, but not with broken ones.
 * @throws NightshiftError `otlp_malformed`
 */
export function scanRequest(bytes: Uint8Array, signal: Signal): Scan {
  checkMessage(bytes, SHAPE[signal].request);
  const scan = { accepted: 0, rejected: 0 };
  let only: Uint8Array | null | undefined;
  let storedBytes = 0;
  for (const range of listRecords(bytes, signal)) {
    storedBytes += rawSize(range);
    const { trace, isUsable } = readIds(bytes, range, signal);
    if (!isUsable) {
      scan.rejected++;
      continue;
    }
    scan.accepted++;
    if (only === undefined) only = trace ?? null;
    else if (only !== null && (trace === undefined || !sameBytes(only, trace))) only = null;
  }
  const what = signal === "traces" ? "spans" : "log records";
  if (storedBytes > MAX_STORED_BYTES) {
    const problem = `its ${what} with their resources are ${storedBytes} bytes, the limit is ${MAX_STORED_BYTES}`;
    throw nightshiftError("otlp_malformed", { where: "resource", problem });
  }
  const problem =
    scan.rejected === 0
      ? ""
      : `${scan.rejected} ${what} rejected: trace id (16 bytes) or span id (8 bytes) missing, all zero or of another length`;
  return { ...scan, problem, traceId: only === null || only === undefined || only.length === 0 ? null : hex(only) };
}

/** Whether the record's ids have the right length and are not all zero. */
export function hasUsableIds(bytes: Uint8Array, range: RecordRange, signal: Signal): boolean {
  return readIds(bytes, range, signal).isUsable;
}

/**
 * What is in a request that `scanRequest` accepted: the traces of its records, in hex, one for each record that has one, in wire order; and what the records take once each carries its
 * own resource and scope.
 */
export function contentsOf(bytes: Uint8Array, signal: Signal): { traceIds: string[]; storedBytes: number } {
  const contents = { traceIds: [] as string[], storedBytes: 0 };
  for (const range of listRecords(bytes, signal)) {
    contents.storedBytes += rawSize(range);
    const { trace, isUsable } = readIds(bytes, range, signal);
    if (isUsable && trace !== undefined && trace.length > 0) contents.traceIds.push(hex(trace));
  }
  return contents;
}

function readIds(bytes: Uint8Array, range: RecordRange, signal: Signal): { trace: Uint8Array | undefined; isUsable: boolean } {
  const wanted = ID_FIELDS[signal];
  let trace: Uint8Array | undefined;
  let span: Uint8Array | undefined;
  eachField(bytes, range.valueStart, range.end, SHAPE[signal].item, (field) => {
    if (field.number === wanted.trace) trace = bytes.subarray(field.valueStart, field.end);
    if (field.number === wanted.span) span = bytes.subarray(field.valueStart, field.end);
  });
  return { trace, isUsable: isIdUsable(trace, 16, wanted.required) && isIdUsable(span, 8, wanted.required) };
}

function isIdUsable(id: Uint8Array | undefined, length: number, required: boolean): boolean {
  if (id === undefined || id.length === 0) return !required;
  return id.length === length && id.some((byte) => byte !== 0);
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

function hex(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString("hex");
}

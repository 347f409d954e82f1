import { concatBytes, delimited, eachField, SHAPE, type Signal } from "./wire.ts";

/** Where one span or log record lies in a request, and what it shares with its neighbours. */
export interface RecordRange {
  /** [start, end) of the field with its tag; the record itself begins at valueStart. */
  start: number;
  valueStart: number;
  end: number;
  group: Group;
  scope: Scoped;
}

interface Group {
  /** Fields of ResourceSpans or ResourceLogs but the scopes: byte-wise a message of its own. */
  header: Uint8Array;
}

interface Scoped {
  /** Fields of ScopeSpans or ScopeLogs but the records: byte-wise a message of its own. */
  header: Uint8Array;
}

const SCOPED_FIELD = 2;
const RECORD_FIELD = 2;

/**
 * Lists the spans or log records of a request by their byte ranges, in wire order; decodes none of them.
 * Repeated resources and scopes need no order: protobuf merges them, and so do the headers here.
 * @throws NightshiftError `otlp_malformed`
 */
export function listRecords(bytes: Uint8Array, signal: Signal): RecordRange[] {
  const ranges: RecordRange[] = [];
  eachField(bytes, 0, bytes.length, SHAPE[signal].request, (field) => {
    if (field.number === 1) listGroup(bytes, field.valueStart, field.end, signal, ranges);
  });
  return ranges;
}

/** As `listRecords`, for the stored form: one ResourceSpans or ResourceLogs. */
export function listGroupRecords(bytes: Uint8Array, signal: Signal): RecordRange[] {
  const ranges: RecordRange[] = [];
  listGroup(bytes, 0, bytes.length, signal, ranges);
  return ranges;
}

/** Bytes that `rawRecord` makes of a record, give or take a tag and a length. */
export function rawSize({ start, end, group, scope }: RecordRange): number {
  return end - start + group.header.length + scope.header.length;
}

/** One record with its resource and scope as a ResourceSpans or ResourceLogs; the record's own bytes are copied as they came. */
export function rawRecord(bytes: Uint8Array, range: RecordRange): Uint8Array {
  return concatBytes([range.group.header, ...delimited(SCOPED_FIELD, [range.scope.header, bytes.subarray(range.start, range.end)])]);
}

function listGroup(bytes: Uint8Array, start: number, end: number, signal: Signal, ranges: RecordRange[]): void {
  const shape = SHAPE[signal].group;
  const header: Uint8Array[] = [];
  const scopes: { start: number; end: number }[] = [];
  eachField(bytes, start, end, shape, (field) => {
    if (field.number === SCOPED_FIELD) scopes.push({ start: field.valueStart, end: field.end });
    else header.push(bytes.subarray(field.start, field.end));
  });
  const group: Group = { header: concatBytes(header) };
  for (const scope of scopes) listScope(bytes, scope, signal, group, ranges);
}

function listScope(bytes: Uint8Array, at: { start: number; end: number }, signal: Signal, group: Group, ranges: RecordRange[]): void {
  const shape = SHAPE[signal].group.fields[SCOPED_FIELD]?.message;
  if (shape === undefined) return;
  const header: Uint8Array[] = [];
  const scope: Scoped = { header: new Uint8Array() };
  eachField(bytes, at.start, at.end, shape, (field) => {
    if (field.number !== RECORD_FIELD) header.push(bytes.subarray(field.start, field.end));
    else ranges.push({ start: field.start, valueStart: field.valueStart, end: field.end, group, scope });
  });
  scope.header = concatBytes(header);
}

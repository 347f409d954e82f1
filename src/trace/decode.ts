import { type PbfReader, PbfWriter } from "pbf";
import { readAnyValue, readAttributeInto, readerOf, readText, readTime } from "./attributes.ts";
import { listGroupRecords, listRecords, rawRecord, type RecordRange } from "./records.ts";
import { hasUsableIds } from "./scan.ts";
import type { AttributeValue, LogEvent, Scope, Span, SpanEvent, SpanLink } from "./span.ts";
import { concatBytes, type Signal } from "./wire.ts";

/** A decoded record beside the bytes that are stored for it. */
export interface Decoded<T> {
  value: T;
  /** Protobuf ResourceSpans or ResourceLogs with just this record. */
  raw: Uint8Array;
}

/** Decodes a request that `scanRequest` accepted; records with unusable ids are left out, as the receiver told the sender. */
export function decodeSpans(bytes: Uint8Array): Decoded<Span>[] {
  return decodeRanges(bytes, listRecords(bytes, "traces"), "traces", decodeSpan);
}

/** As `decodeSpans`, for logs. */
export function decodeLogs(bytes: Uint8Array): Decoded<LogEvent>[] {
  return decodeRanges(bytes, listRecords(bytes, "logs"), "logs", decodeLog);
}

/** Decodes the stored form of one span. */
export function decodeStoredSpan(raw: Uint8Array): Span | null {
  const range = listGroupRecords(raw, "traces")[0];
  return range === undefined ? null : decodeSpan(raw, range, sharedOf(range));
}

/** Decodes the stored form of one log record. */
export function decodeStoredLog(raw: Uint8Array): LogEvent | null {
  const range = listGroupRecords(raw, "logs")[0];
  if (range === undefined) return null;
  const found = { sequence: 0n };
  readerOf(range.group.header).readFields((tag, into, pbf) => {
    if (tag === SEQUENCE_FIELD) into.sequence = readTime(pbf);
  }, found);
  return { ...decodeLog(raw, range, sharedOf(range)), sequence: found.sequence };
}

/** A field that OTLP does not have, on the stored ResourceLogs: fixed64, order of arrival. Other readers skip it. */
const SEQUENCE_FIELD = 4_093;

/** The stored form of a log record with its place in the order of arrival. */
export function withSequence(raw: Uint8Array, sequence: bigint): Uint8Array {
  const writer = new PbfWriter();
  writer.writeTag(SEQUENCE_FIELD, 1);
  writer.writeFixed32(Number(sequence & 0xffff_ffffn));
  writer.writeFixed32(Number(sequence >> 32n));
  return concatBytes([raw, writer.finish()]);
}

type Shared = Pick<Span, "resource" | "scope">;

function decodeRanges<T>(
  bytes: Uint8Array,
  ranges: readonly RecordRange[],
  signal: Signal,
  decode: (bytes: Uint8Array, range: RecordRange, shared: Shared) => T,
): Decoded<T>[] {
  // A batch of 512 spans usually has one resource and one or two scopes: decode each once.
  const known = new Map<object, Shared>();
  const decoded: Decoded<T>[] = [];
  for (const range of ranges) {
    if (!hasUsableIds(bytes, range, signal)) continue;
    const shared = known.get(range.scope) ?? sharedOf(range);
    known.set(range.scope, shared);
    decoded.push({ value: decode(bytes, range, shared), raw: rawRecord(bytes, range) });
  }
  return decoded;
}

function sharedOf(range: RecordRange): Shared {
  const resource: Record<string, AttributeValue> = {};
  readerOf(range.group.header).readFields((tag, into, pbf) => {
    if (tag === 1) pbf.readMessage((inner, target) => inner === 1 && readAttributeInto(target, pbf), into);
  }, resource);
  const scope: Scope = { name: "", version: "" };
  readerOf(range.scope.header).readFields((tag, into, pbf) => {
    if (tag === 1) pbf.readMessage(readScope, into);
  }, scope);
  return { resource, scope };
}

function readScope(tag: number, scope: Scope, pbf: PbfReader): void {
  if (tag === 1) scope.name = readText(pbf);
  else if (tag === 2) scope.version = readText(pbf);
}

function decodeSpan(bytes: Uint8Array, range: RecordRange, shared: Shared): Span {
  const events: SpanEvent[] = [];
  const links: SpanLink[] = [];
  const span: Span = {
    traceId: "",
    spanId: "",
    parentSpanId: null,
    name: "",
    kind: 0,
    startNs: 0n,
    endNs: 0n,
    attributes: {},
    droppedAttributes: 0,
    events,
    droppedEvents: 0,
    statusCode: 0,
    statusMessage: "",
    ...shared,
  };
  const attributes: Record<string, AttributeValue> = {};
  const reader = readerOf(bytes.subarray(range.valueStart, range.end));
  reader.readFields((tag, into, pbf) => {
    if (tag === 9) readAttributeInto(attributes, pbf);
    else if (tag === 11) events.push(pbf.readMessage(readEvent, { name: "", timeNs: 0n, attributes: {} }));
    else if (tag === 13) links.push(pbf.readMessage(readLink, { traceId: "", spanId: "" }));
    else readSpanField(tag, into, pbf);
  }, span);
  return { ...span, attributes, ...(links.length === 0 ? {} : { links }) };
}

function readSpanField(tag: number, span: Span, pbf: PbfReader): void {
  if (tag === 1) span.traceId = hex(pbf.readBytes());
  else if (tag === 2) span.spanId = hex(pbf.readBytes());
  else if (tag === 4) span.parentSpanId = parentId(pbf.readBytes());
  else if (tag === 5) span.name = readText(pbf);
  else if (tag === 6) span.kind = pbf.readVarint();
  else if (tag === 7) span.startNs = readTime(pbf);
  else if (tag === 8) span.endNs = readTime(pbf);
  else if (tag === 10) span.droppedAttributes = pbf.readVarint();
  else if (tag === 12) span.droppedEvents = pbf.readVarint();
  else if (tag === 15) pbf.readMessage(readStatus, span);
}

function readStatus(tag: number, span: Span, pbf: PbfReader): void {
  if (tag === 2) span.statusMessage = readText(pbf);
  else if (tag === 3) span.statusCode = pbf.readVarint();
}

function readEvent(tag: number, event: SpanEvent & { attributes: Record<string, AttributeValue> }, pbf: PbfReader): void {
  if (tag === 1) event.timeNs = readTime(pbf);
  else if (tag === 2) event.name = readText(pbf);
  else if (tag === 3) readAttributeInto(event.attributes, pbf);
}

function readLink(tag: number, link: SpanLink, pbf: PbfReader): void {
  if (tag === 1) link.traceId = hex(pbf.readBytes());
  else if (tag === 2) link.spanId = hex(pbf.readBytes());
}

function decodeLog(bytes: Uint8Array, range: RecordRange, shared: Shared): LogEvent {
  const log: LogEvent = { traceId: null, spanId: null, eventName: "", timeNs: 0n, body: null, attributes: {}, ...shared };
  const attributes: Record<string, AttributeValue> = {};
  let observedNs = 0n;
  readerOf(bytes.subarray(range.valueStart, range.end)).readFields((tag, into, pbf) => {
    if (tag === 1) into.timeNs = readTime(pbf);
    else if (tag === 5) into.body = readAnyValue(pbf);
    else if (tag === 6) readAttributeInto(attributes, pbf);
    else if (tag === 9) into.traceId = hex(pbf.readBytes()) || null;
    else if (tag === 10) into.spanId = hex(pbf.readBytes()) || null;
    else if (tag === 11) observedNs = readTime(pbf);
    else if (tag === 12) into.eventName = readText(pbf);
  }, log);
  const named = attributes["event.name"];
  const eventName = log.eventName === "" && typeof named === "string" ? named : log.eventName;
  return { ...log, attributes, eventName, timeNs: log.timeNs === 0n ? observedNs : log.timeNs };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/** Some exporters write eight zero bytes for "no parent". */
function parentId(bytes: Uint8Array): string | null {
  return bytes.some((byte) => byte !== 0) ? hex(bytes) : null;
}

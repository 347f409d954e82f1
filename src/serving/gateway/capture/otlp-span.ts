import { PbfWriter } from "pbf";
import { concatBytes, lengthPrefix } from "../../../trace/wire.ts";

/** A span of the gateway, as plain data. */
export interface CapturedSpan {
  name: string;
  kind: "internal" | "client";
  /** 32 and 16 hex digits. */
  traceId: string;
  spanId: string;
  /** 16 hex digits; null in a trace of its own. */
  parentSpanId: string | null;
  /** Milliseconds since the epoch, with fractions. */
  startMs: number;
  endMs: number;
  isError: boolean;
  attributes: Readonly<Record<string, SpanAttribute | undefined>>;
}

/** Null is as good as absent. Keys are ASCII. */
export type SpanAttribute = string | number | boolean | readonly string[] | null;

/** Whose spans they are. */
export interface SpanSource {
  serviceName: string;
  scope: string;
}

/** Spans of one source, written as they come. */
export interface SpanBuffer {
  /** Returns how many bytes all spans have now. */
  add(span: CapturedSpan): number;
  /** Hands out the spans as an OTLP request, or a part of one, and forgets them. Such parts, one after the other, are one request. */
  take(): Uint8Array;
}

const FIRST_BYTES = 64 * 1024;
/** What a very long call has made larger than this is not kept. */
const MOST_BYTES = 2 * 1024 * 1024;

/**
 * Writes spans as OTLP's bytes (opentelemetry-proto v1.11, field numbers as in src/trace/wire.ts) into memory that is used again: buffers of their own for each span made
 * the garbage collector cost more than all writing.
 */
export function createSpanBuffer({ serviceName, scope }: SpanSource): SpanBuffer {
  let spans = new PbfWriter(new Uint8Array(FIRST_BYTES));
  const resourceField = fieldOf(writeResource, serviceName);
  const scopeField = fieldOf(writeScope, scope);
  return {
    add(span) {
      const { pos } = spans;
      try {
        spans.writeMessage(2, writeSpan, span);
      } catch (error) {
        // Half a span would make nonsense of all others.
        spans.pos = pos;
        throw error;
      }
      return spans.pos;
    },
    take() {
      const scopePrefix = lengthPrefix(2, scopeField.length + spans.pos);
      const inside = resourceField.length + scopePrefix.length + scopeField.length + spans.pos;
      const written = spans.buf.subarray(0, spans.pos);
      const request = concatBytes([lengthPrefix(1, inside), resourceField, scopePrefix, scopeField, written]);
      if (spans.buf.length > MOST_BYTES) spans = new PbfWriter(new Uint8Array(FIRST_BYTES));
      spans.pos = 0;
      return request;
    },
  };
}

function fieldOf(write: (name: string, pbf: PbfWriter) => void, name: string): Uint8Array {
  const writer = new PbfWriter();
  writer.writeMessage(1, write, name);
  return writer.finish();
}

const KIND = { internal: 1, client: 3 } as const;
const ERROR = 2;
const ENCODER = new TextEncoder();

function writeResource(serviceName: string, pbf: PbfWriter): void {
  pbf.writeMessage(1, writeAttribute, ["service.name", serviceName]);
}

function writeScope(name: string, pbf: PbfWriter): void {
  writeText(pbf, 1, name);
}

function writeSpan(span: CapturedSpan, pbf: PbfWriter): void {
  pbf.writeBytesField(1, Buffer.from(span.traceId, "hex"));
  pbf.writeBytesField(2, Buffer.from(span.spanId, "hex"));
  if (span.parentSpanId !== null) pbf.writeBytesField(4, Buffer.from(span.parentSpanId, "hex"));
  writeText(pbf, 5, span.name);
  pbf.writeVarintField(6, KIND[span.kind]);
  writeTime(pbf, 7, span.startMs);
  writeTime(pbf, 8, Math.max(span.startMs, span.endMs));
  for (const key in span.attributes) {
    const value = span.attributes[key];
    if (value !== undefined && value !== null) pbf.writeMessage(9, writeAttribute, [key, value]);
  }
  if (span.isError) pbf.writeMessage(15, writeStatusCode, ERROR);
}

function writeStatusCode(code: number, pbf: PbfWriter): void {
  pbf.writeVarintField(3, code);
}

type Value = NonNullable<SpanAttribute>;

function writeAttribute([key, value]: readonly [string, Value], pbf: PbfWriter): void {
  pbf.writeStringField(1, key);
  pbf.writeMessage(2, writeValue, value);
}

function writeValue(value: Value, pbf: PbfWriter): void {
  if (typeof value === "string") writeText(pbf, 1, value);
  else if (typeof value === "boolean") pbf.writeBooleanField(2, value);
  else if (typeof value !== "number") pbf.writeMessage(5, writeItems, value);
  else if (Number.isSafeInteger(value)) pbf.writeVarintField(3, value);
  else pbf.writeDoubleField(4, value);
}

function writeItems(items: readonly string[], pbf: PbfWriter): void {
  for (const item of items) pbf.writeMessage(1, writeValue, item);
}

/** Not writeStringField: pbf 5.1.2 writes characters above U+1FFFF wrongly, and long text slowly. */
function writeText(pbf: PbfWriter, field: number, text: string): void {
  const length = Buffer.byteLength(text);
  pbf.writeTag(field, 2);
  pbf.writeVarint(length);
  pbf.realloc(length);
  ENCODER.encodeInto(text, pbf.buf.subarray(pbf.pos, pbf.pos + length));
  pbf.pos += length;
}

/** Nanoseconds since the epoch are beyond what a double holds. */
function writeTime(pbf: PbfWriter, field: number, ms: number): void {
  const wholeMs = Math.trunc(ms);
  const ns = BigInt(wholeMs) * 1_000_000n + BigInt(Math.round((ms - wholeMs) * 1e6));
  pbf.writeTag(field, 1);
  pbf.writeFixed32(Number(ns & 0xffff_ffffn));
  pbf.writeFixed32(Number(ns >> 32n));
}

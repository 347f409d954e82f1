import { PbfWriter } from "pbf";
import { lengthDelimited } from "../../../trace/wire.ts";

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

/** Writes spans as OTLP's bytes (opentelemetry-proto v1.11, field numbers as in src/trace/wire.ts), into one buffer that grows to the largest span. */
export function createSpanWriter(): { write(span: CapturedSpan): Uint8Array } {
  const writer = new PbfWriter(new Uint8Array(64 * 1024));
  return {
    /** One span as a field of its ScopeSpans. */
    write(span) {
      writer.pos = 0;
      writer.writeMessage(2, writeSpan, span);
      return writer.buf.slice(0, writer.pos);
    },
  };
}

/** Whose spans they are. */
export interface SpanSource {
  serviceName: string;
  scope: string;
}

/** An OTLP request, or a part of one, with written spans of one source. Such parts, one after the other, are one request. */
export function requestOf({ serviceName, scope }: SpanSource, spans: readonly Uint8Array[]): Uint8Array {
  const head = new PbfWriter();
  head.writeMessage(1, writeResource, serviceName);
  const scopeHead = new PbfWriter();
  scopeHead.writeMessage(1, writeScope, scope);
  return lengthDelimited(1, [head.finish(), lengthDelimited(2, [scopeHead.finish(), ...spans])]);
}

const KIND = { internal: 1, client: 3 } as const;
const ERROR = 2;

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
  pbf.writeBytesField(field, Buffer.from(text));
}

/** Nanoseconds since the epoch are beyond what a double holds. */
function writeTime(pbf: PbfWriter, field: number, ms: number): void {
  const wholeMs = Math.trunc(ms);
  const ns = BigInt(wholeMs) * 1_000_000n + BigInt(Math.round((ms - wholeMs) * 1e6));
  pbf.writeTag(field, 1);
  pbf.writeFixed32(Number(ns & 0xffff_ffffn));
  pbf.writeFixed32(Number(ns >> 32n));
}

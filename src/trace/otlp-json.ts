import { PbfWriter } from "pbf";
import { nightshiftError } from "../errors.ts";
import type { Signal } from "./wire.ts";

/** What one JSON field becomes: protobuf field number and kind. Names are lowerCamelCase only, as OTLP/JSON has them. */
interface JsonField {
  number: number;
  kind: "text" | "hex" | "base64" | "bool" | "varint" | "int64" | "double" | "fixed64" | "fixed32" | "message";
  repeated?: true;
  fields?: () => Readonly<Record<string, JsonField>>;
}
type Fields = Readonly<Record<string, JsonField>>;

const text = (number: number): JsonField => ({ number, kind: "text" });
const hex = (number: number): JsonField => ({ number, kind: "hex" });
const varint = (number: number): JsonField => ({ number, kind: "varint" });
const fixed64 = (number: number): JsonField => ({ number, kind: "fixed64" });
const one = (number: number, fields: () => Fields): JsonField => ({ number, kind: "message", fields });
const many = (number: number, fields: () => Fields): JsonField => ({ number, kind: "message", repeated: true, fields });

const ANY_VALUE: Fields = {
  stringValue: text(1),
  boolValue: { number: 2, kind: "bool" },
  intValue: { number: 3, kind: "int64" },
  doubleValue: { number: 4, kind: "double" },
  arrayValue: one(5, () => ({ values: many(1, () => ANY_VALUE) })),
  kvlistValue: one(6, () => ({ values: many(1, () => KEY_VALUE) })),
  bytesValue: { number: 7, kind: "base64" },
};
const KEY_VALUE: Fields = { key: text(1), value: one(2, () => ANY_VALUE) };
const RESOURCE: Fields = { attributes: many(1, () => KEY_VALUE), droppedAttributesCount: varint(2) };
const SCOPE: Fields = { name: text(1), version: text(2), attributes: many(3, () => KEY_VALUE), droppedAttributesCount: varint(4) };
const EVENT: Fields = {
  timeUnixNano: fixed64(1),
  name: text(2),
  attributes: many(3, () => KEY_VALUE),
  droppedAttributesCount: varint(4),
};
const LINK: Fields = {
  traceId: hex(1),
  spanId: hex(2),
  traceState: text(3),
  attributes: many(4, () => KEY_VALUE),
  droppedAttributesCount: varint(5),
  flags: { number: 6, kind: "fixed32" },
};
const SPAN: Fields = {
  traceId: hex(1),
  spanId: hex(2),
  traceState: text(3),
  parentSpanId: hex(4),
  name: text(5),
  kind: varint(6),
  startTimeUnixNano: fixed64(7),
  endTimeUnixNano: fixed64(8),
  attributes: many(9, () => KEY_VALUE),
  droppedAttributesCount: varint(10),
  events: many(11, () => EVENT),
  droppedEventsCount: varint(12),
  links: many(13, () => LINK),
  droppedLinksCount: varint(14),
  status: one(15, () => ({ message: text(2), code: varint(3) })),
  flags: { number: 16, kind: "fixed32" },
};
const LOG_RECORD: Fields = {
  timeUnixNano: fixed64(1),
  severityNumber: varint(2),
  severityText: text(3),
  body: one(5, () => ANY_VALUE),
  attributes: many(6, () => KEY_VALUE),
  droppedAttributesCount: varint(7),
  flags: { number: 8, kind: "fixed32" },
  traceId: hex(9),
  spanId: hex(10),
  observedTimeUnixNano: fixed64(11),
  eventName: text(12),
};

function requestFields(groups: string, scopes: string, records: string, record: Fields): Fields {
  const scoped: Fields = { scope: one(1, () => SCOPE), [records]: many(2, () => record), schemaUrl: text(3) };
  const group: Fields = { resource: one(1, () => RESOURCE), [scopes]: many(2, () => scoped), schemaUrl: text(3) };
  return { [groups]: many(1, () => group) };
}

const REQUEST: Readonly<Record<Signal, Fields>> = {
  traces: requestFields("resourceSpans", "scopeSpans", "spans", SPAN),
  logs: requestFields("resourceLogs", "scopeLogs", "logRecords", LOG_RECORD),
};

/** JSON nested deeper than this is refused; JSON.parse itself has no such limit. */
const MAX_DEPTH = 48;

/**
 * Translates an OTLP/JSON request to protobuf, once, at the edge: ids are hex, 64-bit numbers may be strings, unknown fields are ignored.
 * An id that is no hex becomes an empty one, so that only its record is rejected.
 * @throws NightshiftError `otlp_malformed`
 */
export function encodeJsonRequest(bytes: Uint8Array, signal: Signal): Uint8Array {
  if (bytes.length === 0) return bytes;
  const tree = parseJson(bytes);
  const writer = new PbfWriter(new Uint8Array(bytes.length));
  writeFields(tree, REQUEST[signal], writer, "request", 0);
  return writer.finish();
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw nightshiftError("otlp_malformed", { where: "body", problem: "it is not valid JSON" });
  }
}

function writeFields(value: unknown, fields: Fields, writer: PbfWriter, path: string, depth: number): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(path, "an object");
  if (depth > MAX_DEPTH) throw nightshiftError("otlp_malformed", { where: path.slice(0, 80), problem: "values are nested too deeply" });
  for (const [name, field] of Object.entries(fields)) {
    const item = (value as Record<string, unknown>)[name];
    if (item === undefined || item === null) continue;
    const at = `${path}.${name}`;
    if (!field.repeated) writeField(item, field, writer, at, depth);
    else if (!Array.isArray(item)) throw wrong(at, "an array");
    else for (const element of item) writeField(element, field, writer, at, depth);
  }
}

function writeField(value: unknown, field: JsonField, writer: PbfWriter, path: string, depth: number): void {
  const { number, kind } = field;
  if (kind === "message") {
    writer.writeMessage(number, (item: unknown, pbf) => writeFields(item, field.fields?.() ?? {}, pbf, path, depth + 1), value);
  } else if (kind === "bool") {
    if (typeof value !== "boolean") throw wrong(path, "a boolean");
    writer.writeBooleanField(number, value);
  } else if (kind === "double") writer.writeDoubleField(number, doubleOf(value, path));
  else if (kind === "text" || kind === "hex" || kind === "base64") writeString(value, field, writer, path);
  else writeInteger(integerOf(value, path), field, writer);
}

function writeString(value: unknown, field: JsonField, writer: PbfWriter, path: string): void {
  if (typeof value !== "string") throw wrong(path, "a string");
  // Not writeStringField: pbf 5.1.2 writes characters above U+1FFFF wrongly.
  if (field.kind === "text") writer.writeBytesField(field.number, Buffer.from(value));
  else if (field.kind === "base64") writer.writeBytesField(field.number, Buffer.from(value, "base64"));
  else writer.writeBytesField(field.number, /^(?:[0-9a-f]{2})*$/i.test(value) ? Buffer.from(value, "hex") : new Uint8Array());
}

function writeInteger(value: bigint, field: JsonField, writer: PbfWriter): void {
  const bits = BigInt.asUintN(64, value);
  if (field.kind === "fixed32") writer.writeFixed32Field(field.number, Number(bits & 0xffff_ffffn));
  else if (field.kind === "fixed64") {
    writer.writeTag(field.number, 1);
    writer.writeFixed32(Number(bits & 0xffff_ffffn));
    writer.writeFixed32(Number(bits >> 32n));
  } else {
    // pbf's own varints are doubles: a large int64 would lose its low bits.
    writer.writeTag(field.number, 0);
    let rest = bits;
    writer.realloc(10);
    for (; rest > 0x7fn; rest >>= 7n) writer.buf[writer.pos++] = Number(rest & 0x7fn) | 0x80;
    writer.buf[writer.pos++] = Number(rest);
  }
}

function integerOf(value: unknown, path: string): bigint {
  if (typeof value === "number" && Number.isInteger(value)) return BigInt(value);
  if (typeof value === "string" && /^-?\d{1,20}$/.test(value)) return BigInt(value);
  throw wrong(path, "an integer");
}

/** Proto JSON writes the doubles that JSON lacks as strings. */
function doubleOf(value: unknown, path: string): number {
  if (typeof value === "number") return value;
  if (typeof value === "string" && /^(?:NaN|-?Infinity|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)$/.test(value)) return Number(value);
  throw wrong(path, "a number");
}

function wrong(path: string, expected: string): Error {
  return nightshiftError("otlp_malformed", { where: path.slice(0, 80), problem: `expected ${expected}` });
}

import { nightshiftError } from "../errors.ts";

/**
 * The shape of OTLP's protobuf messages (opentelemetry-proto v1.11, trace.proto and logs.proto), as far as Nightshift looks: which field holds a message,
 * which holds text. Fields that are not listed pass through untouched.
 */
export interface MessageShape {
  readonly name: string;
  readonly fields: readonly (FieldShape | undefined)[];
}

export interface FieldShape {
  /** Wire type: 0 varint, 1 fixed64, 2 length-delimited, 5 fixed32. */
  readonly wire: 0 | 1 | 2 | 5;
  readonly message?: MessageShape;
  /** A string that people or programs wrote: what redaction reads. */
  readonly text?: true;
}

/** Deeper attribute values than this are refused: a few kilobytes of nested arrays would otherwise exhaust the stack. */
const MAX_DEPTH = 48;
/** Spans, attributes, events and values in one request. Two bytes make an empty one: without a bound, 64 KiB of gzip are millions of objects for whoever decodes. */
const MAX_MESSAGES = 1_000_000;

const VARINT: FieldShape = { wire: 0 };
const FIXED64: FieldShape = { wire: 1 };
const BYTES: FieldShape = { wire: 2 };
const FIXED32: FieldShape = { wire: 5 };
const TEXT: FieldShape = { wire: 2, text: true };
const nested = (message: MessageShape): FieldShape => ({ wire: 2, message });

// AnyValue, ArrayValue, KeyValueList and KeyValue refer to each other: the field lists are filled in below.
const anyValueFields: (FieldShape | undefined)[] = [];
const keyValueFields: (FieldShape | undefined)[] = [];
const ANY_VALUE: MessageShape = { name: "AnyValue", fields: anyValueFields };
const KEY_VALUE: MessageShape = { name: "KeyValue", fields: keyValueFields };
keyValueFields.push(undefined, TEXT, nested(ANY_VALUE), VARINT);
anyValueFields.push(
  undefined,
  TEXT,
  VARINT,
  VARINT,
  FIXED64,
  nested({ name: "ArrayValue", fields: [undefined, nested(ANY_VALUE)] }),
  nested({ name: "KeyValueList", fields: [undefined, nested(KEY_VALUE)] }),
  BYTES,
  VARINT,
);

const ATTRIBUTES = nested(KEY_VALUE);
const RESOURCE: MessageShape = { name: "Resource", fields: [undefined, ATTRIBUTES, VARINT] };
const SCOPE: MessageShape = { name: "InstrumentationScope", fields: [undefined, TEXT, TEXT, ATTRIBUTES, VARINT] };
const EVENT: MessageShape = { name: "Event", fields: [undefined, FIXED64, TEXT, ATTRIBUTES, VARINT] };
const LINK: MessageShape = { name: "Link", fields: [undefined, BYTES, BYTES, TEXT, ATTRIBUTES, VARINT, FIXED32] };
const STATUS: MessageShape = { name: "Status", fields: [undefined, undefined, TEXT, VARINT] };

const SPAN: MessageShape = {
  name: "Span",
  fields: [
    undefined,
    BYTES, // trace_id
    BYTES, // span_id
    TEXT, // trace_state
    BYTES, // parent_span_id
    TEXT, // name
    VARINT, // kind
    FIXED64, // start
    FIXED64, // end
    ATTRIBUTES,
    VARINT, // dropped_attributes
    nested(EVENT),
    VARINT, // dropped_events
    nested(LINK),
    VARINT, // dropped_links
    nested(STATUS),
    FIXED32, // flags
  ],
};

const LOG_RECORD: MessageShape = {
  name: "LogRecord",
  fields: [
    undefined,
    FIXED64, // time
    VARINT, // severity
    TEXT, // severity text
    undefined,
    nested(ANY_VALUE), // body
    ATTRIBUTES,
    VARINT, // dropped
    FIXED32, // flags
    BYTES, // trace_id
    BYTES, // span_id
    FIXED64, // observed time
    TEXT, // event_name
  ],
};

function requestShape(name: string, item: MessageShape): { request: MessageShape; group: MessageShape; item: MessageShape } {
  const scoped: MessageShape = { name: `Scope${name}`, fields: [undefined, nested(SCOPE), nested(item), TEXT] };
  const group: MessageShape = { name: `Resource${name}`, fields: [undefined, nested(RESOURCE), nested(scoped), TEXT] };
  return { request: { name: `Export${name}ServiceRequest`, fields: [undefined, nested(group)] }, group, item };
}

export type Signal = "traces" | "logs";

/** By signal: the whole request, one ResourceSpans or ResourceLogs, one Span or LogRecord. */
export const SHAPE = { traces: requestShape("Spans", SPAN), logs: requestShape("Logs", LOG_RECORD) } as const;

/** One field as it lies in the bytes: [start, end) with its tag, [valueStart, end) the value without tag and length. */
export interface Field {
  number: number;
  start: number;
  valueStart: number;
  end: number;
  shape: FieldShape | undefined;
}

/**
 * Calls `visit` for every field of the message in `bytes[start, end)`, in order; descends nowhere.
 * The same `Field` object is reused from call to call: copy what you keep.
 * @throws NightshiftError `otlp_malformed` for truncation, group wire types, field number 0 and a wire type other than the shape's
 */
export function eachField(bytes: Uint8Array, start: number, end: number, shape: MessageShape, visit: (field: Field) => void): void {
  const field: Field = { number: 0, start: 0, valueStart: 0, end: start, shape: undefined };
  const cursor: Cursor = { position: start, end, where: shape.name };
  while (cursor.position < end) {
    readField(bytes, cursor, field, shape);
    visit(field);
  }
}

/** Checks the whole tree of `shape` over `bytes`. @throws NightshiftError `otlp_malformed`, also for too many or too deeply nested messages */
export function checkMessage(bytes: Uint8Array, shape: MessageShape): void {
  let messages = 0;
  const check = (message: MessageShape, start: number, end: number, depth: number): void => {
    if (depth > MAX_DEPTH) throw malformed(message.name, "values are nested too deeply");
    if (++messages > MAX_MESSAGES) throw malformed(shape.name, `it has more than ${MAX_MESSAGES} spans, attributes and values`);
    eachField(bytes, start, end, message, (field) => {
      if (field.shape?.message) check(field.shape.message, field.valueStart, field.end, depth + 1);
    });
  };
  check(shape, 0, bytes.length, 0);
}

interface Cursor {
  position: number;
  readonly end: number;
  /** Message name, for the error. */
  readonly where: string;
}

/** Fills `field` with the one at the cursor and moves the cursor behind it. */
function readField(bytes: Uint8Array, cursor: Cursor, field: Field, shape: MessageShape): void {
  field.start = cursor.position;
  const tag = readVarint(bytes, cursor);
  const wire = tag % 8;
  field.number = Math.floor(tag / 8);
  field.shape = shape.fields[field.number];
  if (field.number === 0) throw malformed(shape.name, "field number 0");
  if (field.shape !== undefined && field.shape.wire !== wire) {
    throw malformed(shape.name, `field ${field.number} has wire type ${wire}, not ${field.shape.wire}`);
  }
  field.valueStart = cursor.position;
  if (wire === 0) readVarint(bytes, cursor);
  else if (wire === 1) cursor.position += 8;
  else if (wire === 5) cursor.position += 4;
  else if (wire === 2) {
    const length = readVarint(bytes, cursor);
    field.valueStart = cursor.position;
    cursor.position += length;
  } else throw malformed(shape.name, `wire type ${wire} in field ${field.number} (groups are not part of OTLP)`);
  if (cursor.position > cursor.end) throw malformed(shape.name, `field ${field.number} is cut off`);
  field.end = cursor.position;
}

/** Values above 2^53 lose their low bits; as lengths and tags they are out of range anyway. */
function readVarint(bytes: Uint8Array, cursor: Cursor): number {
  const limit = Math.min(cursor.end, cursor.position + 10);
  let value = 0;
  let scale = 1;
  while (cursor.position < limit) {
    const byte = bytes[cursor.position++] ?? 0;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return value;
    scale *= 128;
  }
  throw malformed(cursor.where, "a varint is cut off");
}

function malformed(where: string, problem: string): Error {
  return nightshiftError("otlp_malformed", { where, problem });
}

/** Concatenates byte ranges into one new array. */
export function concatBytes(chunks: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(chunks);
}

/** A length-delimited field: tag, length, content. */
export function lengthDelimited(number: number, content: readonly Uint8Array[]): Uint8Array {
  return concatBytes(delimited(number, content));
}

/** As `lengthDelimited`, in pieces. */
export function delimited(number: number, content: readonly Uint8Array[]): Uint8Array[] {
  const size = content.reduce((sum, chunk) => sum + chunk.length, 0);
  return [lengthPrefix(number, size), ...content];
}

/** What stands before the content of a length-delimited field: its tag, and the content's length in bytes. */
export function lengthPrefix(number: number, length: number): Uint8Array {
  return concatBytes([varintBytes(number * 8 + 2), varintBytes(length)]);
}

function varintBytes(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) + 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

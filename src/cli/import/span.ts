import { createHash } from "node:crypto";
import { ATTRIBUTE } from "../../telemetry.ts";
import { encodeJsonRequest } from "../../trace/otlp-json.ts";
import { concatBytes, eachField, lengthDelimited, SHAPE, type Signal } from "../../trace/wire.ts";

/** OTLP requests that stand for one record of a file; what it has none of is absent. */
export type Requests = Partial<Record<Signal, Uint8Array>>;

export type AttributeValues = Readonly<Record<string, string | number | boolean | readonly string[] | null | undefined>>;

/** A span as a converter describes it. Absent values are left out. */
export interface SpanSpec {
  traceId: string;
  spanId: string;
  parentSpanId?: string | undefined;
  name: string;
  startNs: bigint;
  endNs: bigint;
  failure?: string | undefined;
  attributes: AttributeValues;
  resource?: AttributeValues;
}

/** An event of the Logs signal, `gen_ai.…`. */
export interface EventSpec {
  traceId: string;
  spanId?: string | undefined;
  name: string;
  timeNs: bigint;
  attributes: AttributeValues;
}

/** What the options of a command lay over every record. */
export interface Overlay {
  serviceName?: string | undefined;
  consent?: boolean | undefined;
}

/** Not `nightshift.…`: scopes of that name are Nightshift's own telemetry and left out by ingest. */
const SCOPE = { name: "imported" };
const CLIENT = 3;
const STATUS_ERROR = 2;

/** Ids of converted records: from what they are made of and from nothing else, so that a second import meets the first one's spans. */
export function hashedId(bytes: 8 | 16, ...parts: readonly string[]): string {
  return createHash("sha256")
    .update(parts.join("\n"))
    .digest("hex")
    .slice(0, bytes * 2);
}

export function requestsOf(spans: readonly SpanSpec[], events: readonly EventSpec[] = []): Requests {
  const resourceSpans = spans.map((span) => ({
    resource: { attributes: attributesJson(span.resource ?? {}) },
    scopeSpans: [{ scope: SCOPE, spans: [spanJson(span)] }],
  }));
  const logRecords = events.map(({ traceId, spanId, name, timeNs, attributes }) => ({
    traceId,
    ...(spanId === undefined ? {} : { spanId }),
    eventName: name,
    timeUnixNano: String(timeNs),
    attributes: attributesJson(attributes),
  }));
  return {
    ...(spans.length === 0 ? {} : { traces: encoded({ resourceSpans }, "traces") }),
    ...(events.length === 0 ? {} : { logs: encoded({ resourceLogs: [{ scopeLogs: [{ scope: SCOPE, logRecords }] }] }, "logs") }),
  };
}

/**
 * Adds the overlay to every resource of a request. Protobuf merges a message that occurs twice, and the later attribute stands: the service's name is written behind what the
 * file has, consent before it, because a refusal that was recorded stands.
 */
export function withOverlay(bytes: Uint8Array, signal: Signal, { serviceName, consent }: Overlay): Uint8Array {
  if (serviceName === undefined && consent === undefined) return bytes;
  const before = resourceWith({ [ATTRIBUTE.consent]: consent }, signal);
  const behind = resourceWith({ "service.name": serviceName }, signal);
  const parts: Uint8Array[] = [];
  eachField(bytes, 0, bytes.length, SHAPE[signal].request, ({ number, start, valueStart, end }) => {
    parts.push(number === 1 ? lengthDelimited(1, [before, bytes.subarray(valueStart, end), behind]) : bytes.subarray(start, end));
  });
  return concatBytes(parts);
}

/** The content of a ResourceSpans or ResourceLogs with nothing but these attributes of its resource. */
function resourceWith(values: AttributeValues, signal: Signal): Uint8Array {
  const attributes = attributesJson(values);
  if (attributes.length === 0) return new Uint8Array();
  const only = encoded({ [signal === "traces" ? "resourceSpans" : "resourceLogs"]: [{ resource: { attributes } }] }, signal);
  let resource: Uint8Array = new Uint8Array();
  eachField(only, 0, only.length, SHAPE[signal].request, ({ valueStart, end }) => (resource = only.subarray(valueStart, end)));
  return resource;
}

function spanJson({ traceId, spanId, parentSpanId, name, startNs, endNs, failure, attributes }: SpanSpec): object {
  return {
    traceId,
    spanId,
    ...(parentSpanId === undefined ? {} : { parentSpanId }),
    name,
    kind: CLIENT,
    startTimeUnixNano: String(startNs),
    endTimeUnixNano: String(endNs),
    attributes: attributesJson(attributes),
    ...(failure === undefined ? {} : { status: { code: STATUS_ERROR, message: failure } }),
  };
}

function attributesJson(values: AttributeValues): object[] {
  return Object.entries(values).flatMap(([key, value]) =>
    value === undefined || value === null ? [] : [{ key, value: valueJson(value) }],
  );
}

function valueJson(value: string | number | boolean | readonly string[]): object {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  if (typeof value === "number") return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value };
  return { arrayValue: { values: value.map((stringValue) => ({ stringValue })) } };
}

function encoded(request: object, signal: Signal): Uint8Array {
  return encodeJsonRequest(Buffer.from(JSON.stringify(request)), signal);
}

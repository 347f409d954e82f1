/** A decoded attribute value: OTLP's AnyValue as plain JavaScript (bytes stay bytes, int64 outside the safe range stays bigint). */
export type AttributeValue =
  | string
  | number
  | bigint
  | boolean
  | Uint8Array
  | null
  | readonly AttributeValue[]
  | { readonly [key: string]: AttributeValue };
export type Attributes = Readonly<Record<string, AttributeValue>>;

export interface SpanEvent {
  name: string;
  timeNs: bigint;
  attributes: Attributes;
}

/** Another span that this one names: what an evaluation is about, say. */
export interface SpanLink {
  traceId: string;
  spanId: string;
}

export interface Scope {
  name: string;
  version: string;
}

/** One decoded span with the resource and scope that it came with. Ids are lower-case hex. */
export interface Span {
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
  name: string;
  kind: number;
  startNs: bigint;
  endNs: bigint;
  attributes: Attributes;
  droppedAttributes: number;
  events: readonly SpanEvent[];
  droppedEvents: number;
  /** In their order; absent where the span has none. */
  links?: readonly SpanLink[];
  /** OTLP status code: 0 unset, 1 ok, 2 error. */
  statusCode: number;
  statusMessage: string;
  scope: Scope;
  resource: Attributes;
}

/** One decoded log record. `traceId` and `spanId` are null when the record stands alone. */
export interface LogEvent {
  traceId: string | null;
  spanId: string | null;
  /** LogRecord.event_name, or the attribute `event.name` where the emitter used that. */
  eventName: string;
  timeNs: bigint;
  /** Order of arrival, once stored: SDKs stamp all events of one call with the same millisecond. */
  sequence?: bigint;
  body: AttributeValue;
  attributes: Attributes;
  scope: Scope;
  resource: Attributes;
}

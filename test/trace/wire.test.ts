import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { decodeLogs, decodeSpans, decodeStoredSpan } from "../../src/trace/decode.ts";
import { concatBytes, lengthDelimited } from "../../src/trace/wire.ts";
import {
  attributes,
  logJson,
  logRequest,
  protobuf,
  spanJson,
  SPAN_ID,
  TRACE_ID,
  traceRequest,
  type Value,
} from "../fixtures/otlp/build.ts";

test("every field of a span that Nightshift keeps", () => {
  const request = traceRequest([
    spanJson({
      parentSpanId: "00f067aa0ba902b7",
      kind: 3,
      droppedAttributesCount: 2,
      droppedEventsCount: 1,
      status: { code: 2, message: "failed" },
      events: [{ name: "exception", timeUnixNano: "1763725380500000003", attributes: attributes({ "exception.type": "TypeError" }) }],
      attributes: { text: "ü", yes: true, half: 0.5, list: ["a", 1], map: { k: null } },
    }),
  ]);
  expect(decodeSpans(protobuf(request))[0]?.value).toEqual({
    traceId: TRACE_ID,
    spanId: SPAN_ID,
    parentSpanId: "00f067aa0ba902b7",
    name: "chat tiny",
    kind: 3,
    startNs: 1763725380000000001n,
    endNs: 1763725381000000002n,
    attributes: { text: "ü", yes: true, half: 0.5, list: ["a", 1], map: { k: null } },
    droppedAttributes: 2,
    events: [{ name: "exception", timeNs: 1763725380500000003n, attributes: { "exception.type": "TypeError" } }],
    droppedEvents: 1,
    statusCode: 2,
    statusMessage: "failed",
    scope: { name: "test", version: "1" },
    resource: { "service.name": "shop" },
  });
});

test.each([
  ["0", 0],
  ["-1", -1],
  ["9007199254740991", 9007199254740991],
  ["-9007199254740991", -9007199254740991],
  ["9007199254740993", 9007199254740993n],
  ["9223372036854775807", 9223372036854775807n],
  ["-9223372036854775808", -9223372036854775808n],
])("the integer %s survives JSON and protobuf", (written, expected) => {
  const request = traceRequest([{ ...spanJson(), attributes: [{ key: "n", value: { intValue: written } }] }]);
  expect(decodeSpans(protobuf(request))[0]?.value.attributes["n"]).toBe(expected);
});

test("ids are hex in any case, bytes are base64, unknown fields are ignored", () => {
  const span = {
    ...spanJson(),
    traceId: TRACE_ID.toUpperCase(),
    attributes: [{ key: "b", value: { bytesValue: "AQI=" } }],
    fancyNewField: { a: 1 },
  };
  const decoded = decodeSpans(protobuf(traceRequest([span])))[0]?.value;
  expect(decoded?.traceId).toBe(TRACE_ID);
  expect(decoded?.attributes["b"]).toEqual(Uint8Array.of(1, 2));
});

test("keys that reach a prototype are left out", () => {
  const pairs = [
    { key: "__proto__", value: { stringValue: "x" } },
    { key: "constructor", value: { stringValue: "x" } },
    { key: "kept", value: { kvlistValue: { values: [{ key: "__proto__", value: { stringValue: "x" } }] } } },
  ];
  const decoded = decodeSpans(protobuf(traceRequest([{ ...spanJson(), attributes: pairs }])))[0]!.value.attributes;
  expect(Object.keys(decoded)).toEqual(["kept"]);
  expect(decoded["kept"]).toEqual({});
  expect(Object.getPrototypeOf(decoded["kept"])).toBe(Object.prototype);
});

test("a resource behind its spans, and one in two pieces, belong to the span all the same", () => {
  const keyValue = (key: string) =>
    lengthDelimited(1, [lengthDelimited(1, [Buffer.from(key)]), lengthDelimited(2, [lengthDelimited(1, [Buffer.from("v")])])]);
  const resource = (key: string) => lengthDelimited(1, [keyValue(key)]);
  const span = lengthDelimited(2, [lengthDelimited(2, [Buffer.alloc(8, 2)]), lengthDelimited(1, [Buffer.alloc(16, 1)])]);
  const scope = lengthDelimited(1, [lengthDelimited(1, [Buffer.from("late scope")])]);
  const body = lengthDelimited(1, [lengthDelimited(2, [span, scope]), resource("a"), resource("b")]);
  const [decoded] = decodeSpans(body);
  expect(decoded?.value).toMatchObject({
    traceId: "01".repeat(16),
    spanId: "02".repeat(8),
    scope: { name: "late scope" },
    resource: { a: "v", b: "v" },
  });
  expect(decodeStoredSpan(decoded!.raw)).toEqual(decoded!.value);
});

test("a log event's name may be an attribute, its time the observed one, its parent nothing", () => {
  const record = {
    eventName: "",
    timeUnixNano: "0",
    observedTimeUnixNano: "7",
    traceId: "",
    spanId: "",
    attributes: attributes({ "event.name": "gen_ai.choice" }),
  };
  const log = decodeLogs(protobuf(logRequest([logJson("", "text", record)]), "logs"))[0]?.value;
  expect(log).toMatchObject({ eventName: "gen_ai.choice", timeNs: 7n, traceId: null, spanId: null, body: "text" });
});

const value = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string({ unit: "grapheme" }),
    fc.maxSafeInteger().filter((number) => !Object.is(number, -0)),
    fc.double({ noInteger: true }),
    fc.constantFrom(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN),
    fc.boolean(),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(
      fc.string({ minLength: 1 }).filter((key) => !["__proto__", "constructor", "prototype"].includes(key)),
      tie("value"),
      { maxKeys: 3 },
    ),
  ),
})).value;

property.prop([value])("any attribute value survives JSON, protobuf and the stored form", (written) => {
  const [decoded] = decodeSpans(protobuf(traceRequest([spanJson({ attributes: { written } })])));
  expect(decoded?.value.attributes["written"]).toEqual(written);
  expect(decodeStoredSpan(decoded!.raw)).toEqual(decoded?.value);
});

property.prop([fc.array(fc.nat(3), { maxLength: 5 })])("concatenated requests decode as one", (sizes) => {
  const bodies = sizes.map((size) => protobuf(traceRequest(Array.from({ length: size }, () => spanJson()))));
  expect(decodeSpans(concatBytes(bodies))).toHaveLength(sizes.reduce((sum, size) => sum + size, 0));
});

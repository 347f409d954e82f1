import { test as property, fc } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { decodeLogs, decodeSpans } from "../../src/trace/decode.ts";
import { splitRequest } from "../../src/trace/split.ts";
import { logJson, logRequest, protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";

const spanId = (index: number): string => (index + 1).toString(16).padStart(16, "0");

property.prop([fc.array(fc.nat({ max: 400 }), { maxLength: 30 }), fc.integer({ min: 150, max: 2_000 })])(
  "every span is in exactly one part, in order, with its resource, or is told to be oversized",
  (sizes, maxBytes) => {
    const spans = sizes.map((size, index) => spanJson({ spanId: spanId(index), attributes: { text: "x".repeat(size) } }));
    const { parts, oversized } = splitRequest(protobuf(traceRequest(spans)), "traces", maxBytes);
    for (const part of parts) expect(part.length).toBeLessThanOrEqual(maxBytes);
    const decoded = parts.flatMap((part) => decodeSpans(part).map(({ value }) => value));
    expect(decoded.length + oversized.length).toBe(sizes.length);
    const ids = decoded.map((span) => span.spanId);
    expect(ids).toEqual(ids.toSorted());
    expect(new Set(ids).size).toBe(ids.length);
    for (const span of decoded) expect(span).toMatchObject({ resource: { "service.name": "shop" }, scope: { name: "test" } });
    for (const size of oversized) expect(size).toBeGreaterThan(maxBytes);
  },
);

test("as few parts as fit", () => {
  const spans = Array.from({ length: 10 }, (_, index) => spanJson({ spanId: spanId(index), attributes: { text: "x".repeat(1_000) } }));
  const bytes = protobuf(traceRequest(spans));
  expect(splitRequest(bytes, "traces", 100_000).parts).toHaveLength(1);
  expect(splitRequest(bytes, "traces", 4_000).parts.map((part) => decodeSpans(part).length)).toEqual([3, 3, 3, 1]);
});

test("log records as well", () => {
  const records = [1, 2, 3].map((index) => logJson("event", { index, text: "x".repeat(500) }));
  const { parts } = splitRequest(protobuf(logRequest(records), "logs"), "logs", 900);
  expect(parts.flatMap((part) => decodeLogs(part).map(({ value }) => value.eventName))).toEqual(["event", "event", "event"]);
  expect(parts).toHaveLength(3);
});

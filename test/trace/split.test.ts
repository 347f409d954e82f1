import { test as property, fc } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { decodeLogs, decodeSpans } from "../../src/trace/decode.ts";
import { scanRequest } from "../../src/trace/scan.ts";
import { splitRequest } from "../../src/trace/split.ts";
import { lengthDelimited } from "../../src/trace/wire.ts";
import { logJson, logRequest, protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";

const spanId = (index: number): string => (index + 1).toString(16).padStart(16, "0");

property.prop([fc.array(fc.nat({ max: 400 }), { maxLength: 30 }), fc.integer({ min: 150, max: 2_000 })])(
  "every span is in exactly one part, in order, with its resource; one that is larger than a part is a part of its own",
  (sizes, maxBytes) => {
    const spans = sizes.map((size, index) => spanJson({ spanId: spanId(index), attributes: { text: "x".repeat(size) } }));
    const parts = [...splitRequest(protobuf(traceRequest(spans)), "traces", maxBytes)];
    for (const { bytes, isOversized } of parts) {
      expect(bytes.length > maxBytes).toBe(isOversized);
      if (isOversized) expect(decodeSpans(bytes)).toHaveLength(1);
    }
    const decoded = parts.flatMap(({ bytes }) => decodeSpans(bytes).map(({ value }) => value));
    expect(decoded.map((span) => span.spanId)).toEqual(sizes.map((_, index) => spanId(index)));
    for (const span of decoded) expect(span).toMatchObject({ resource: { "service.name": "shop" }, scope: { name: "test" } });
  },
);

test("as few parts as fit", () => {
  const spans = Array.from({ length: 10 }, (_, index) => spanJson({ spanId: spanId(index), attributes: { text: "x".repeat(1_000) } }));
  const bytes = protobuf(traceRequest(spans));
  expect([...splitRequest(bytes, "traces", 100_000)]).toHaveLength(1);
  expect([...splitRequest(bytes, "traces", 4_000)].map((part) => decodeSpans(part.bytes).length)).toEqual([3, 3, 3, 1]);
});

test("log records as well", () => {
  const records = [1, 2, 3].map((index) => logJson("event", { index, text: "x".repeat(500) }));
  const parts = [...splitRequest(protobuf(logRequest(records), "logs"), "logs", 900)];
  expect(parts.flatMap(({ bytes }) => decodeLogs(bytes).map(({ value }) => value.eventName))).toEqual(["event", "event", "event"]);
  expect(parts).toHaveLength(3);
});

test.each([
  // Each is a few KiB of gzip; decoded, it would be gigabytes of objects or of copies.
  [
    "empty spans",
    () => lengthDelimited(1, [lengthDelimited(2, [Buffer.alloc(4_000_000).fill(Buffer.from([0x12, 0]))])]),
    /more than 1000000 spans/,
  ],
  [
    "empty events",
    () => lengthDelimited(1, [lengthDelimited(2, [lengthDelimited(2, [Buffer.alloc(4_000_000).fill(Buffer.from([0x5a, 0]))])])]),
    /more than 1000000 spans/,
  ],
  [
    "a resource that outweighs its spans",
    () =>
      protobuf(
        traceRequest(
          Array.from({ length: 600 }, (_, index) => spanJson({ spanId: spanId(index) })),
          { resource: { note: "x".repeat(500_000) } },
        ),
      ),
    /its spans with their resources are 3\d{8} bytes/,
  ],
])("a request that is small and would not stay so is refused: %s", (_, request, problem) => {
  expect(() => scanRequest(request(), "traces")).toThrow(problem);
});

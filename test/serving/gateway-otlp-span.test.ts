import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { createEmitter } from "../../src/serving/gateway/capture/emitter.ts";
import { createSpanBuffer, type CapturedSpan } from "../../src/serving/gateway/capture/otlp-span.ts";
import type { Seen, SeenAssignment } from "../../src/serving/gateway/capture/seen.ts";
import type { Settled } from "../../src/serving/gateway/capture/capture.ts";
import { decodeSpans } from "../../src/trace/decode.ts";
import { checkMessage, SHAPE } from "../../src/trace/wire.ts";

const SOURCE = { serviceName: "shop-agent ☂", scope: "a.scope" };
const HEX_DIGIT = fc.integer({ min: 0, max: 15 }).map((digit) => digit.toString(16));
const text = fc.string({ unit: "binary", maxLength: 200 });
const number = fc.oneof(fc.integer(), fc.maxSafeInteger(), fc.double({ noNaN: true })).filter((value) => !Object.is(value, -0));
const capturedSpan: fc.Arbitrary<CapturedSpan> = fc.record({
  name: text,
  kind: fc.constantFrom("internal", "client"),
  traceId: fc.string({ unit: HEX_DIGIT, minLength: 32, maxLength: 32 }).filter((id) => !/^0+$/.test(id)),
  spanId: fc.string({ unit: HEX_DIGIT, minLength: 16, maxLength: 16 }).filter((id) => !/^0+$/.test(id)),
  parentSpanId: fc.constantFrom(null, "b7ad6b7169203331"),
  startMs: fc.integer({ min: 0, max: 2 ** 42 }),
  endMs: fc.integer({ min: 0, max: 2 ** 42 }),
  isError: fc.boolean(),
  attributes: fc.dictionary(
    fc.stringMatching(/^[a-z]{1,8}(\.[a-z_]{1,20}){1,4}$/),
    fc.oneof(
      text,
      text.map((piece) => piece.repeat(400)),
      number,
      fc.boolean(),
      fc.array(text),
      fc.constant(null),
    ),
  ),
});

describe("a written span", () => {
  property.prop([fc.array(capturedSpan, { minLength: 1, maxLength: 4 })])("is read as it was", (spans) => {
    const buffer = createSpanBuffer(SOURCE);
    for (const span of spans) buffer.add(span);
    const request = buffer.take();
    checkMessage(request, SHAPE.traces.request);
    const read = decodeSpans(request).map(({ value }) => value);
    expect(read).toMatchObject(
      spans.map(({ name, kind, traceId, spanId, parentSpanId, startMs, endMs, isError }) => ({
        ...{ name, traceId, spanId, parentSpanId },
        kind: kind === "client" ? 3 : 1,
        startNs: BigInt(startMs) * 1_000_000n,
        endNs: BigInt(Math.max(startMs, endMs)) * 1_000_000n,
        statusCode: isError ? 2 : 0,
        scope: { name: "a.scope" },
        resource: { "service.name": "shop-agent ☂" },
      })),
    );
    expect(read.map(({ attributes }) => attributes)).toEqual(
      spans.map(({ attributes }) => Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== null))),
    );
  });

  test("keeps nanoseconds of today, which no double holds", () => {
    const span: CapturedSpan = {
      ...{ name: "n", kind: "client", traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", parentSpanId: null },
      ...{ startMs: 1_795_000_000_123.25, endMs: 1_795_000_000_123.75, isError: false, attributes: {} },
    };
    const buffer = createSpanBuffer(SOURCE);
    buffer.add(span);
    const [read] = decodeSpans(buffer.take());
    expect([read?.value.startNs, read?.value.endNs]).toEqual([1_795_000_000_123_250_000n, 1_795_000_000_123_750_000n]);
  });
});

describe("an emitter", () => {
  const assigned = (agent: string, sessionId: string): SeenAssignment => ({
    ...{ kind: "assignment", agent, caller: { traceparent: null, sessionId }, atMs: 1 },
    assignment: { experimentId: "e", key: sessionId, weakKey: false, arm: "stable", probability: 0.5, routeVersion: 1 },
  });

  async function emit(seen: readonly Seen[]) {
    const requests: Uint8Array[] = [];
    const outcomes: Settled[] = [];
    const agents = [
      { agent: "shop", serviceName: "shop-service", agentName: "Shop" },
      { agent: "bank", serviceName: "bank-service" },
    ];
    const emitter = createEmitter(agents, {
      sendSpans: (request) => Promise.resolve(void requests.push(request)).then(() => null),
      settled: (outcome) => void outcomes.push(outcome),
    });
    for (const each of seen) emitter.send(each);
    await emitter.close();
    return { requests: requests.map((request) => decodeSpans(request).map(({ value }) => value)), outcomes };
  }

  test("sends spans of several agents in one request, each below its own service", async () => {
    const { requests, outcomes } = await emit([assigned("shop", "s1"), assigned("bank", "b1"), assigned("shop", "s2")]);
    const said = requests.map((spans) =>
      spans.map(({ resource, attributes }) => [resource["service.name"], attributes["gen_ai.conversation.id"]]),
    );
    expect(said).toEqual([
      [
        ["shop-service", "s1"],
        ["shop-service", "s2"],
        ["bank-service", "b1"],
      ],
    ]);
    expect(outcomes).toEqual([{ count: 3, bytes: 0, problem: null }]);
  });

  test("sends a call that is large by itself, so that a collector which refuses it refuses nothing else", async () => {
    const { kind: _, atMs, ...assignment } = assigned("shop", "s2");
    const request = Buffer.from(JSON.stringify({ messages: [{ role: "user", content: "x".repeat(600_000) }] }));
    const large: Seen = {
      ...{ ...assignment, kind: "call", path: "/v1/chat/completions", publicModel: "m", target: null, fallback: null, errorType: null },
      ...{ startMs: atMs, firstByteMs: null, endMs: atMs + 1, request, answer: null, isEventStream: false },
    };
    const { requests } = await emit([assigned("shop", "s1"), large, assigned("shop", "s3")]);
    expect(requests.map(({ length }) => length)).toEqual([1, 1, 1]);
  });

  test("sends a request as soon as it has 64 spans or half a megabyte, and the rest when it closes", async () => {
    const many = await emit(Array.from({ length: 130 }, (_, index) => assigned("shop", `s${index}`)));
    expect(many.requests.map(({ length }) => length)).toEqual([64, 64, 2]);
    // The key is the session's id once more: 400 kB a span.
    const long = await emit(Array.from({ length: 5 }, (_, index) => assigned("shop", `${index}`.repeat(200_000))));
    expect(long.requests.map(({ length }) => length)).toEqual([2, 2, 1]);
  });
});

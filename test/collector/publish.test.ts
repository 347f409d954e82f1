import { expect, test } from "vitest";
import { publishRequest } from "../../collector/publish.ts";
import { silentLog } from "../../src/log.ts";
import { decodeSpans } from "../../src/trace/decode.ts";
import type { PublishResult, Transport, TransportRecord } from "../../src/transport/transport.ts";
import { protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";

const about = { tenant: "default", signal: "traces", receivedAtMs: 1 } as const;
const spanId = (index: number): string => (index + 1).toString(16).padStart(16, "0");

/** Takes at most `maxBytes` of body, and answers as `answer` says once it fits. */
function smallTransport(maxBytes: number, answer: () => PublishResult = () => ({ status: "stored" })) {
  const taken: { record: TransportRecord; key: string | null | undefined }[] = [];
  const transport: Transport = {
    publish(record, options) {
      if (record.body.length > maxBytes) return Promise.resolve({ status: "too_large", maxBytes });
      const result = answer();
      if (result.status === "stored") taken.push({ record, key: options?.key });
      return Promise.resolve(result);
    },
    subscribe: () => Promise.reject(new Error("not used")),
    close: () => Promise.resolve(),
  };
  return { transport, taken };
}

function request(count: number, size = 500, large = -1): Uint8Array {
  const text = (index: number): string => "x".repeat(index === large ? 5_000 : size);
  return protobuf(
    traceRequest(Array.from({ length: count }, (_, index) => spanJson({ spanId: spanId(index), attributes: { text: text(index) } }))),
  );
}

function publish(bytes: Uint8Array, transport: Transport) {
  const body = { bytes, wire: { wire: bytes, encoding: "identity" as const } };
  return publishRequest(body, about, { transport, redactor: null, log: silentLog() });
}

test("a request that is larger than the transport takes goes in parts, each of them whole", async () => {
  const { transport, taken } = smallTransport(2_000);
  expect(await publish(request(10), transport)).toEqual({ accepted: 10, rejected: 0, problem: "" });
  expect(taken.length).toBeGreaterThan(1);
  expect(taken.flatMap(({ record }) => decodeSpans(record.body).map(({ value }) => value.spanId))).toEqual(
    Array.from({ length: 10 }, (_, index) => spanId(index)),
  );
  for (const { record } of taken) expect(record).toMatchObject({ ...about, encoding: "identity", redacted: true });
});

test("one span that is larger on its own is rejected with the reason, the others are kept", async () => {
  const { transport, taken } = smallTransport(2_000);
  const { accepted, rejected, problem } = await publish(request(4, 500, 2), transport);
  expect({ accepted, rejected }).toEqual({ accepted: 3, rejected: 1 });
  expect(problem).toMatch(/^1 rejected: one span or log record of 5\d{3} bytes is larger than the transport's 2000$/);
  expect(taken.flatMap(({ record }) => decodeSpans(record.body))).toHaveLength(3);
});

test("a part that is not stored now is a 503 for the whole", async () => {
  let calls = 0;
  const { transport } = smallTransport(2_000, () => (++calls === 2 ? { status: "retryable", retryAfterMs: 2_500 } : { status: "stored" }));
  await expect(publish(request(10), transport)).rejects.toMatchObject({ status: 503, headers: { "retry-after": "3" } });
});

test("a request of one trace has that trace as its key, another has none", async () => {
  const { transport, taken } = smallTransport(100_000);
  const of = (traces: readonly string[]) =>
    protobuf(traceRequest(traces.map((traceId, index) => spanJson({ traceId, spanId: spanId(index) }))));
  const [one, other] = ["a".repeat(32), "b".repeat(32)] as const;
  await publish(of([one, one]), transport);
  await publish(of([one, other]), transport);
  // The span without an id is rejected, so it does not count.
  await publish(of([other, "0".repeat(32)]), transport);
  expect(taken.map(({ key }) => key)).toEqual([one, null, other]);
});

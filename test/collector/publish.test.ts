import { expect, test } from "vitest";
import { publishRequest } from "../../collector/publish.ts";
import type { ArtifactStore, Digest } from "../../src/artifact/artifact-store.ts";
import { digestOf } from "../../src/artifact/digest.ts";
import { silentLog } from "../../src/log.ts";
import { decodeSpans } from "../../src/trace/decode.ts";
import type { Redactor } from "../../src/trace/redact-request.ts";
import { redeem } from "../../src/transport/claim.ts";
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
    isReading: () => false,
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

/** Artifacts by digest, in memory; `failure`: what every put rejects with. */
function memoryArtifacts(failure?: Error) {
  const kept = new Map<Digest, Uint8Array>();
  const store = {
    put: async (bytes: Uint8Array) => {
      if (failure !== undefined) throw failure;
      const digest = digestOf(bytes);
      kept.set(digest, bytes);
      return { status: "created" as const, digest };
    },
    get: async (digest: Digest) => kept.get(digest) ?? null,
  };
  // Claim checks need no more of the seam.
  return { kept, artifacts: store as unknown as ArtifactStore };
}

function publish(bytes: Uint8Array, transport: Transport, { artifacts } = memoryArtifacts()) {
  const body = { bytes, wire: { wire: bytes, encoding: "identity" as const } };
  return publishRequest(body, about, { transport, artifacts, redactor: null, log: silentLog() });
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

test("one span that is larger on its own goes by claim check, in its place among the others", async () => {
  const { transport, taken } = smallTransport(2_000);
  const memory = memoryArtifacts();
  expect(await publish(request(4, 500, 2), transport, memory)).toEqual({ accepted: 4, rejected: 0, problem: "" });
  expect(taken.map(({ record }) => [record.body.length > 0, record.claim !== undefined])).toEqual([
    [true, false],
    [false, true],
    [true, false],
  ]);
  const records = await Promise.all(taken.map(({ record }) => redeem(record, memory.artifacts)));
  expect(records.flatMap(({ body }) => decodeSpans(body).map(({ value }) => value.spanId))).toEqual([0, 1, 2, 3].map(spanId));
  for (const record of records) expect(record).toMatchObject({ ...about, encoding: "identity", redacted: true });
  // A sender that heard nothing and sends it again leaves one object.
  await publish(request(4, 500, 2), transport, memory);
  expect(memory.kept.size).toBe(1);
});

test("a transport that takes less than it said makes claims of what is in between, and drops nothing", async () => {
  // The broker takes 1,200 bytes, the config says 2,000: a refused part is halved, and the larger of its two spans is over the half.
  const { transport: honest, taken } = smallTransport(1_200);
  const transport: Transport = {
    ...honest,
    async publish(record, options) {
      const result = await honest.publish(record, options);
      return result.status === "too_large" ? { ...result, maxBytes: Math.floor(record.body.length / 2) } : result;
    },
  };
  const memory = memoryArtifacts();
  expect(await publish(request(2, 800), transport, memory)).toMatchObject({ accepted: 2, rejected: 0 });
  const records = await Promise.all(taken.map(({ record }) => redeem(record, memory.artifacts)));
  expect(records.flatMap(({ body }) => decodeSpans(body).map(({ value }) => value.spanId))).toEqual([0, 1].map(spanId));
});

test("an artifact store that does not take the span is a 503: the sender still has it", async () => {
  const { transport } = smallTransport(2_000);
  await expect(publish(request(4, 500, 2), transport, memoryArtifacts(new Error("no space")))).rejects.toMatchObject({ status: 503 });
});

test("a claim whose body is not there is kept waiting, not refused", async () => {
  const { transport, taken } = smallTransport(2_000);
  await publish(request(4, 500, 2), transport);
  const [claim] = taken.flatMap(({ record }) => (record.claim === undefined ? [] : [record]));
  if (claim === undefined) expect.fail("no claim");
  await expect(redeem(claim, memoryArtifacts().artifacts)).rejects.toMatchObject({ code: "claim_missing", retryable: true });
});

test("a part that is not stored now is a 503 for the whole", async () => {
  let calls = 0;
  const { transport } = smallTransport(2_000, () => (++calls === 2 ? { status: "retryable", retryAfterMs: 2_500 } : { status: "stored" }));
  await expect(publish(request(10), transport)).rejects.toMatchObject({ status: 503, retryAfterMs: 2_500 });
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

test("a redacted copy is given back once it is stored; one that is not may still be on its way", async () => {
  const answers: PublishResult[] = [{ status: "retryable", retryAfterMs: 1_000 }, { status: "stored" }];
  const [tried, lengths]: [Uint8Array[], number[]] = [[], []];
  const transport: Transport = {
    ...smallTransport(1e6).transport,
    publish(record) {
      tried.push(record.body);
      lengths.push(record.body.length);
      return Promise.resolve(answers[tried.length - 1] ?? { status: "stored" });
    },
  };
  const bytes = request(20);
  const redactor: Redactor = { redactRequest: (whole) => Promise.resolve(Buffer.from(whole.slice().buffer)), keyId: () => "key" };
  const deps = { transport, artifacts: memoryArtifacts().artifacts, redactor, log: silentLog() };
  const publishAgain = () => publishRequest({ bytes, wire: { wire: bytes, encoding: "identity" } }, about, deps);
  await expect(publishAgain()).rejects.toMatchObject({ status: 503 });
  await publishAgain();
  expect(lengths).toEqual([bytes.length, bytes.length]);
  expect(tried.map(({ length }) => length)).toEqual([bytes.length, 0]);
  expect(bytes.length).toBeGreaterThan(4_096);
});

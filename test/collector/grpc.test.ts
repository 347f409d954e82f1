import { createHash } from "node:crypto";
import { connect, constants } from "node:http2";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { fc, test as property } from "@fast-check/vitest";
import { PbfReader } from "pbf";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { writeMessage } from "../../collector/grpc-message.ts";
import { nightshiftError } from "../../src/errors.ts";
import { logJson, logRequest, protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { type Capture, startCapture } from "./capture.ts";
import { connectGrpc, type GrpcClient } from "./grpc-client.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function start(
  options: Parameters<typeof startCapture>[0] & { compression?: "gzip" } = {},
): Promise<{ capture: Capture; client: GrpcClient }> {
  const capture = await startCapture(options);
  cleanups.push(() => capture.close());
  const client = connectGrpc(capture.grpcPort, options.compression === undefined ? {} : { compression: options.compression });
  cleanups.push(() => client.close());
  return { capture, client };
}

const BODY = protobuf(traceRequest([spanJson()]));
const code = { ok: 0, invalid: 3, exhausted: 8, unimplemented: 12, internal: 13, unavailable: 14, unauthenticated: 16 };

/** Seconds and milliseconds of the RetryInfo in `grpc-status-details-bin`; null without one. */
function retryMs(details: Buffer | undefined): number | null {
  let found: number | null = null;
  const read = (bytes: Uint8Array, on: (tag: number, pbf: PbfReader) => void) =>
    new PbfReader(bytes).readFields((tag, _, pbf) => on(tag, pbf), null);
  const status = details ?? Buffer.alloc(0);
  read(status, (tag, pbf) => {
    if (tag !== 3) return;
    read(pbf.readBytes(), (any, inner) => {
      if (any !== 2) return;
      read(inner.readBytes(), (_info, delay) => {
        found = 0;
        read(delay.readBytes(), (part, number) => {
          found = (found ?? 0) + number.readVarint() * (part === 1 ? 1_000 : 1 / 1_000_000);
        });
      });
    });
  });
  return found;
}

test("traces and logs arrive as they were sent, metrics are taken and dropped", async () => {
  const { capture, client } = await start();
  const logs = protobuf(logRequest([logJson("gen_ai.user.message", { content: "hi" })]), "logs");
  expect(await client.call("traces", BODY)).toMatchObject({ code: code.ok, body: Buffer.alloc(0) });
  expect(await client.call("logs", logs)).toMatchObject({ code: code.ok });
  expect(await client.call("metrics", Buffer.from([0xff]))).toMatchObject({ code: code.ok });
  expect(capture.records.map(({ signal, encoding, tenant }) => ({ signal, encoding, tenant }))).toEqual([
    { signal: "traces", encoding: "identity", tenant: "default" },
    { signal: "logs", encoding: "identity", tenant: "default" },
  ]);
  expect(capture.records.map(({ body }) => Buffer.from(body))).toEqual([BODY, logs].map((sent) => Buffer.from(sent)));
});

test("a compressed message travels on as the sender compressed it", async () => {
  const { capture, client } = await start({ compression: "gzip" });
  expect(await client.call("traces", BODY)).toMatchObject({ code: code.ok });
  expect(capture.records[0]?.encoding).toBe("gzip");
  expect(gunzipSync(capture.records[0]?.body ?? new Uint8Array())).toEqual(Buffer.from(BODY));
});

test("unusable ids are a partial success", async () => {
  const { capture, client } = await start();
  const answer = await client.call("traces", protobuf(traceRequest([spanJson(), spanJson({ spanId: "0000000000000000" })])));
  expect(answer.code).toBe(code.ok);
  const partial = { rejected: 0, message: "" };
  new PbfReader(answer.body).readFields((_tag, into, pbf) => {
    new PbfReader(pbf.readBytes()).readFields((tag, found, inner) => {
      if (tag === 1) found.rejected = inner.readVarint();
      if (tag === 2) found.message = inner.readString();
    }, into);
  }, partial);
  expect(partial).toMatchObject({ rejected: 1, message: expect.stringContaining("span id") as string });
  expect(capture.records).toHaveLength(1);
});

describe("refusals", () => {
  test("what is no OTLP is INVALID_ARGUMENT and says why", async () => {
    const { client } = await start();
    const answer = await client.call("traces", Buffer.from("hello, this is not OTLP"));
    expect(answer).toMatchObject({ code: code.invalid, details: expect.stringContaining("wire type") as string });
    expect(retryMs(answer.trailers.get("grpc-status-details-bin")[0] as Buffer)).toBeNull();
  });

  test("another service is UNIMPLEMENTED", async () => {
    const { client } = await start();
    expect(await client.call("profiles", BODY)).toMatchObject({ code: code.unimplemented });
  });

  test("too large, before and after inflating, is RESOURCE_EXHAUSTED without a time to come back", async () => {
    const { capture, client } = await start({ collector: { maxBodyBytes: 4_096 }, compression: "gzip" });
    const large = protobuf(traceRequest([spanJson({ name: "x".repeat(5_000) })]));
    for (const body of [large, Buffer.alloc(8 * 1024 * 1024)]) {
      const answer = await client.call("traces", body);
      expect(answer).toMatchObject({ code: code.exhausted, details: expect.stringContaining("4096") as string });
      expect(retryMs(answer.trailers.get("grpc-status-details-bin")[0] as Buffer)).toBeNull();
    }
    const plain = connectGrpc(capture.grpcPort);
    cleanups.push(() => plain.close());
    expect(await plain.call("traces", Buffer.alloc(8 * 1024 * 1024))).toMatchObject({ code: code.exhausted });
    expect(capture.records).toEqual([]);
  });

  test("a store that is away is UNAVAILABLE with the time to come back", async () => {
    const { client } = await start({
      handler: () => Promise.reject(nightshiftError("store_unavailable", { problem: "restarting" })),
    });
    const answer = await client.call("traces", BODY);
    expect(answer.code).toBe(code.unavailable);
    expect(retryMs(answer.trailers.get("grpc-status-details-bin")[0] as Buffer)).toBe(1_000);
  });

  test("the tenant comes from the token", async () => {
    const token = "a".repeat(40);
    const hash = createHash("sha256").update(token).digest("hex");
    const { capture, client } = await start({ tenants: { acme: { collectorTokenHashes: [hash] }, other: {} } });
    expect(await client.call("traces", BODY)).toMatchObject({ code: code.unauthenticated });
    expect(await client.call("traces", BODY, { headers: { authorization: `Bearer ${token}` } })).toMatchObject({ code: code.ok });
    expect(capture.records.map(({ tenant }) => tenant)).toEqual(["acme"]);
  });
});

/** A call written by hand: what no library sends. */
async function rawCall(
  port: number,
  body: Uint8Array,
  headers: Record<string, string> = {},
): Promise<{ status: number; grpc: string | undefined }> {
  const session = connect(`http://127.0.0.1:${port}`);
  onTestFinished(() => session.destroy());
  const stream = session.request({
    ":method": "POST",
    ":path": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "content-type": "application/grpc+proto",
    te: "trailers",
    ...headers,
  });
  const answer = { status: 0, grpc: undefined as string | undefined };
  stream.on("response", (found) => {
    answer.status = Number(found[":status"]);
    answer.grpc = found["grpc-status"] as string | undefined;
  });
  stream.on("trailers", (found) => (answer.grpc = found["grpc-status"] as string | undefined));
  stream.on("error", () => {});
  stream.resume();
  stream.end(body);
  await new Promise((resolve) => stream.on("close", resolve));
  session.close();
  return answer;
}

describe("on the wire", () => {
  const message = writeMessage(BODY);
  const marked = (flag: number, bytes: Uint8Array): Buffer => {
    const framed = writeMessage(bytes);
    framed[0] = flag;
    return framed;
  };

  test.each([
    ["a message", message, {}, code.ok],
    ["zstd", marked(1, zstdCompressSync(BODY)), { "grpc-encoding": "zstd" }, code.ok],
    ["an encoding that this message does not use", message, { "grpc-encoding": "gzip" }, code.ok],
    ["an empty request", writeMessage(new Uint8Array()), {}, code.ok],
    ["an unknown encoding", message, { "grpc-encoding": "br" }, code.unimplemented],
    ["nothing", new Uint8Array(), {}, code.invalid],
    ["half a prefix", message.subarray(0, 3), {}, code.invalid],
    ["half a message", message.subarray(0, 30), {}, code.invalid],
    ["two messages", Buffer.concat([message, message]), {}, code.invalid],
    ["a byte too many", Buffer.concat([message, Buffer.from([0])]), {}, code.invalid],
    ["an unknown mark", marked(2, BODY), {}, code.invalid],
    ["compressed without saying how", marked(1, gzipSync(BODY)), {}, code.invalid],
    ["broken gzip", marked(1, Buffer.from("not gzip")), { "grpc-encoding": "gzip" }, code.invalid],
    ["four gigabytes announced", Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1]), {}, code.exhausted],
  ])("%s", async (_name, body, headers, expected) => {
    const { capture } = await start();
    expect(await rawCall(capture.grpcPort, body, headers as Record<string, string>)).toEqual({ status: 200, grpc: String(expected) });
  });

  test("what is no gRPC is told so in HTTP", async () => {
    const { capture } = await start();
    expect(await rawCall(capture.grpcPort, message, { "content-type": "application/json" })).toMatchObject({ status: 415 });
  });

  property.prop([fc.array(fc.nat({ max: message.length }), { maxLength: 6 })], { numRuns: 50 })(
    "a message may come in any pieces",
    async (cuts) => {
      const { capture } = await start();
      const session = connect(`http://127.0.0.1:${capture.grpcPort}`);
      const stream = session.request({
        ":method": "POST",
        ":path": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "content-type": "application/grpc",
      });
      stream.resume();
      const ends = [...cuts.toSorted((a, b) => a - b), message.length];
      for (const [index, end] of ends.entries()) stream.write(message.subarray(index === 0 ? 0 : ends[index - 1], end));
      stream.end();
      await new Promise((resolve) => stream.on("close", resolve));
      session.close();
      expect(capture.records.map(({ body }) => Buffer.from(body))).toEqual([Buffer.from(BODY)]);
    },
  );

  property.prop([fc.uint8Array({ maxLength: 200 }), fc.constantFrom("identity", "gzip", "zstd")], { numRuns: 200 })(
    "junk is the sender's fault, never ours",
    async (junk, encoding) => {
      const { capture } = await start();
      const { grpc } = await rawCall(capture.grpcPort, junk, { "grpc-encoding": encoding });
      expect([code.ok, code.invalid, code.exhausted].map(String)).toContain(grpc);
    },
  );

  test("a sender that leaves in the middle takes nothing with it", async () => {
    const { capture, client } = await start({ collector: { maxInFlightBytes: 2 * message.length } });
    for (let time = 0; time < 5; time++) {
      const session = connect(`http://127.0.0.1:${capture.grpcPort}`);
      const stream = session.request({
        ":method": "POST",
        ":path": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "content-type": "application/grpc",
      });
      stream.on("error", () => {});
      stream.write(message.subarray(0, message.length - 1));
      await new Promise((resolve) => session.ping(resolve));
      stream.close(constants.NGHTTP2_CANCEL);
      await new Promise((resolve) => stream.on("close", resolve));
      session.destroy();
    }
    // What they held was given back: a bound of two messages still has room.
    await expect.poll(() => client.call("traces", BODY)).toMatchObject({ code: code.ok });
  });
});

test("closing answers what is under way, on connections that stay open", async () => {
  let release = () => {};
  onTestFinished(() => release());
  const entered = Promise.withResolvers<void>();
  const { capture, client } = await start({
    handler: () => {
      entered.resolve();
      return new Promise<void>((resolve) => (release = resolve));
    },
  });
  const slow = client.call("traces", BODY);
  await entered.promise;
  const closed = capture.receiver.close();
  release();
  expect(await slow).toMatchObject({ code: code.ok });
  await closed;
  expect(await client.call("traces", BODY)).toMatchObject({ code: code.unavailable });
});

import { createHash } from "node:crypto";
import { connect } from "node:net";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import { PbfReader } from "pbf";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { createTenantOf } from "../../collector/tenant.ts";
import { parseConfig } from "../../src/config.ts";
import { nightshiftError } from "../../src/errors.ts";
import { decodeSpans } from "../../src/trace/decode.ts";
import { lengthDelimited } from "../../src/trace/wire.ts";
import { logJson, logRequest, protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { startCapture, type Capture } from "./capture.ts";

let open: Capture[] = [];
const start = async (...options: Parameters<typeof startCapture>) => {
  const capture = await startCapture(...options);
  open.push(capture);
  return capture;
};
afterEach(async () => {
  await Promise.all(open.map((capture) => capture.close()));
  open = [];
});

const BODY = protobuf(traceRequest([spanJson()]));
const JSON_TYPE = { "content-type": "application/json" };

async function rpcStatus(response: Response): Promise<{ code: number; message: string }> {
  const status = { code: 0, message: "" };
  new PbfReader(await response.arrayBuffer()).readFields((tag, into, pbf) => {
    if (tag === 1) into.code = pbf.readVarint();
    if (tag === 2) into.message = pbf.readString();
  }, status);
  return status;
}

const span = (...fields: Uint8Array[]) => lengthDelimited(1, [lengthDelimited(2, [lengthDelimited(2, fields)])]);
const bytes = (...values: number[]) => Uint8Array.from(values);
const deep = (levels: number): Uint8Array => (levels === 0 ? bytes(0x0a, 0) : lengthDelimited(5, [lengthDelimited(1, [deep(levels - 1)])]));

describe("malformed protobuf is a 400 that says what is wrong", () => {
  test.each([
    ["text", Buffer.from("hello, this is not OTLP"), "wire type"],
    ["a cut-off length", BODY.subarray(0, BODY.length - 3), "cut off"],
    ["a cut-off varint", bytes(0x0a, 0xff, 0xff), "varint"],
    ["a varint that never ends", bytes(0x0a, ...Array.from({ length: 12 }, () => 0xff), 1), "varint"],
    ["a length beyond 2^53", bytes(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), "cut off"],
    ["a group", span(bytes(0x1b, 0x1c)), "wire type 3"],
    ["an end of group", bytes(0x0c), "wire type 4"],
    ["field number 0", bytes(0x02, 0x00), "field number 0"],
    ["a trace id that is a number", span(bytes(0x08, 0x01)), "wire type 0"],
    ["nesting without end", span(lengthDelimited(9, [lengthDelimited(2, [deep(60)])])), "nested too deeply"],
  ])("%s", async (_name, body, problem) => {
    const capture = await start();
    const response = await capture.post("/v1/traces", body);
    expect(response.status).toBe(400);
    expect(response.headers.get("content-type")).toBe("application/x-protobuf");
    const status = await rpcStatus(response);
    expect(status.code).toBe(3);
    expect(status.message).toContain(problem);
    expect(capture.records).toEqual([]);
  });
});

describe("malformed JSON is a 400 in JSON", () => {
  test.each([
    ["no JSON", "{", "not valid JSON"],
    ["broken UTF-8", Buffer.from([0x7b, 0xff, 0x7d]), "not valid JSON"],
    ["an array", "[]", "expected an object"],
    ["a list that is none", '{"resourceSpans": {}}', "expected an array"],
    ["a name that is a number", JSON.stringify(traceRequest([{ ...spanJson(), name: 7 }])), "expected a string"],
    ["a time that is text", JSON.stringify(traceRequest([{ ...spanJson(), startTimeUnixNano: "soon" }])), "expected an integer"],
    ["a fractional kind", JSON.stringify(traceRequest([{ ...spanJson(), kind: 1.5 }])), "expected an integer"],
  ])("%s", async (_name, body, problem) => {
    const capture = await start();
    const response = await capture.post("/v1/traces", body, JSON_TYPE);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ code: 3, message: expect.stringContaining(problem) as string });
  });
});

describe("refused before the body is read", () => {
  test.each([
    ["GET", "/v1/traces", {}, 405],
    ["POST", "/v1/profiles", {}, 404],
    ["POST", "/v1/traces", { "content-type": "text/plain" }, 415],
    ["POST", "/v1/traces", { "content-type": "application/x-protobuf", "content-encoding": "br" }, 415],
  ])("%s %s %j", async (method, path, headers, status) => {
    const capture = await start();
    const response = await fetch(capture.url + path, { method, headers, ...(method === "POST" ? { body: BODY as never } : {}) });
    expect(response.status).toBe(status);
    expect(capture.records).toEqual([]);
  });
});

describe("sizes", () => {
  const maxBodyBytes = 4_096;
  const exactly = (size: number) => {
    const padding = size - protobuf(traceRequest([spanJson({ name: "x".repeat(1_000) })])).length;
    return protobuf(traceRequest([spanJson({ name: "x".repeat(1_000 + padding) })]));
  };

  /** gzip with another length in its last four bytes. */
  const withSize = (zipped: Buffer, size: number) => {
    const changed = Buffer.from(zipped);
    changed.writeUInt32LE(size, changed.length - 4);
    return changed;
  };

  test.each([
    ["at the limit", exactly(maxBodyBytes), "identity", 200],
    ["one byte over", exactly(maxBodyBytes + 1), "identity", 413],
    ["at the limit after gunzip", gzipSync(exactly(maxBodyBytes)), "gzip", 200],
    ["one byte over after gunzip", gzipSync(exactly(maxBodyBytes + 1)), "gzip", 413],
    ["at the limit after zstd", zstdCompressSync(exactly(maxBodyBytes)), "zstd", 200],
    ["a bomb", gzipSync(Buffer.alloc(64 * 1024 * 1024)).subarray(0, 4_000), "gzip", 413],
    ["broken gzip", Buffer.from("not gzip at all"), "gzip", 400],
    ["cut-off gzip", gzipSync(BODY).subarray(0, 20), "gzip", 400],
    ["gzip in two members", Buffer.concat([gzipSync(BODY.subarray(0, 10)), gzipSync(BODY.subarray(10))]), "gzip", 200],
    ["gzip that says it is smaller than it is", withSize(gzipSync(exactly(2_000)), 1_000), "gzip", 400],
    ["gzip that says it is larger than it is", withSize(gzipSync(exactly(2_000)), 3_000), "gzip", 400],
    ["gzip that says it is nothing", withSize(gzipSync(BODY), 0), "gzip", 400],
  ])("%s", async (_name, body, encoding, status) => {
    const capture = await start({ collector: { maxBodyBytes } });
    const response = await capture.post("/v1/traces", body, { "content-encoding": encoding });
    expect(response.status).toBe(status);
    expect(capture.records).toHaveLength(status === 200 ? 1 : 0);
  });

  test("a stream without a length is cut at the limit, and its sender still gets the answer", async () => {
    const capture = await start({ collector: { maxBodyBytes } });
    const body = ReadableStream.from(Array.from({ length: 20 }, () => Buffer.alloc(1_000)));
    const response = await fetch(`${capture.url}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf" },
      body: body as never,
      duplex: "half",
    });
    expect(response.status).toBe(413);
  });

  test("bytes in flight are bounded: what does not fit is told to come back", async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    onTestFinished(() => release());
    let entered = () => {};
    const first = new Promise<void>((resolve) => (entered = resolve));
    const capture = await start({
      collector: { maxInFlightBytes: BODY.length + 10 },
      handler: () => {
        entered();
        return held;
      },
    });
    const slow = capture.post("/v1/traces", BODY);
    await first;
    const refused = await capture.post("/v1/traces", BODY);
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toBe("1");
    release();
    expect((await slow).status).toBe(200);
    expect((await capture.post("/v1/traces", BODY)).status).toBe(200);
  });
});

describe("answers", () => {
  test("empty requests, and metrics of any content, are fine and go nowhere", async () => {
    const capture = await start();
    expect((await capture.post("/v1/traces", "")).status).toBe(200);
    expect((await capture.post("/v1/logs", "{}", JSON_TYPE)).status).toBe(200);
    expect((await capture.post("/v1/metrics", "anything")).status).toBe(200);
    expect(capture.records).toEqual([]);
  });

  test.each([
    ["all zero trace id", { traceId: "0".repeat(32) }],
    ["short trace id", { traceId: "0af7" }],
    ["no hex", { traceId: "not an id" }],
    ["all zero span id", { spanId: "0".repeat(16) }],
    ["empty span id", { spanId: "" }],
  ])("one span with %s is rejected, its neighbour is kept", async (_name, ids) => {
    const capture = await start();
    const request = traceRequest([spanJson(), spanJson(ids)]);
    const response = await capture.post("/v1/traces", JSON.stringify(request), JSON_TYPE);
    expect(response.status).toBe(200);
    const answer = { partialSuccess: { rejectedSpans: "1", errorMessage: expect.stringContaining("1 spans rejected") as string } };
    expect(await response.json()).toEqual(answer);
    expect(decodeSpans(capture.records[0]!.body)).toHaveLength(1);
  });

  test("logs on the traces path are a clear 400", async () => {
    const capture = await start();
    const body = protobuf(logRequest([logJson("gen_ai.user.message", { content: "hi" })]), "logs");
    const response = await capture.post("/v1/traces", body);
    expect(response.status).toBe(400);
    expect((await rpcStatus(response)).message).toContain("Span: field 1");
  });

  test("clean bytes travel untouched and still compressed; dirty ones are redacted", async () => {
    const capture = await start();
    const compressed = gzipSync(BODY);
    await capture.post("/v1/traces", compressed, { "content-encoding": "gzip" });
    await capture.post("/v1/traces", protobuf(traceRequest([spanJson({ attributes: { input: "bob@example.com" } })])));
    const [clean, dirty] = capture.records;
    expect(clean).toMatchObject({ tenant: "default", signal: "traces", encoding: "gzip", redacted: true });
    expect(gunzipSync(clean!.body).equals(BODY)).toBe(true);
    expect(Buffer.from(clean!.body).equals(compressed)).toBe(true);
    expect(decodeSpans(dirty!.body)[0]?.value.attributes["input"]).toMatch(/^<email_[a-z2-7]{8}>$/);
  });

  test("200 comes after the handler's commit, 503 when it fails in passing, 500 never for that", async () => {
    const failures: (Error | null)[] = [nightshiftError("store_unavailable", { problem: "restarting" }), new Error("unforeseen"), null];
    const capture = await start({
      handler: async () => {
        const failure = failures.shift();
        if (failure) throw failure;
      },
    });
    expect((await capture.post("/v1/traces", BODY)).status).toBe(503);
    expect((await capture.post("/v1/traces", BODY)).status).toBe(503);
    expect((await capture.post("/v1/traces", BODY)).status).toBe(200);
  });
});

describe("who may write", () => {
  const token = "a".repeat(40);
  const hash = createHash("sha256").update(token).digest("hex");

  test("the tenant comes from the token", async () => {
    const capture = await start({ tenants: { acme: { collectorTokenHashes: [hash] }, other: {} } });
    expect((await capture.post("/v1/traces", BODY)).status).toBe(401);
    expect((await capture.post("/v1/traces", BODY, { authorization: "Bearer wrong" })).status).toBe(401);
    expect((await capture.post("/v1/traces", BODY, { authorization: `Bearer ${token}` })).status).toBe(200);
    expect(capture.records.map((record) => record.tenant)).toEqual(["acme"]);
  });

  test("open to the network without a token does not start", () => {
    const config = parseConfig({ collector: { host: "0.0.0.0" } });
    expect(() => createTenantOf(config)).toThrow(expect.objectContaining({ code: "collector_open" }));
  });
});

test("a taken port says so", async () => {
  const capture = await start();
  const port = Number(new URL(capture.url).port);
  await expect(startCapture({ collector: { port } })).rejects.toMatchObject({ code: "port_taken" });
});

test("closing answers what is under way, then frees the port", async () => {
  let release = () => {};
  onTestFinished(() => release());
  let entered = () => {};
  const first = new Promise<void>((resolve) => (entered = resolve));
  const capture = await start({
    handler: () => {
      entered();
      return new Promise<void>((resolve) => (release = resolve));
    },
  });
  const slow = capture.post("/v1/traces", BODY);
  await first;
  const closed = capture.receiver.close();
  release();
  expect((await slow).status).toBe(200);
  await closed;
  const refused = await new Promise((resolve) => {
    connect(Number(new URL(capture.url).port), "127.0.0.1")
      .on("error", () => resolve(true))
      .on("connect", () => resolve(false));
  });
  expect(refused).toBe(true);
});

test("health", async () => {
  const capture = await start();
  expect(await (await fetch(`${capture.url}/health`)).json()).toEqual({ status: "ok" });
});

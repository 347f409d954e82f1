import { readFileSync } from "node:fs";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { fc, test } from "@fast-check/vitest";
import { afterAll, beforeAll, expect, test as plainTest, vi } from "vitest";
import { decodeLogs, decodeSpans, decodeStoredLog, decodeStoredSpan } from "../../src/trace/decode.ts";
import { normalise } from "../../src/trace/normalise.ts";
import { logJson, logRequest, protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { startCapture, type Capture } from "./capture.ts";
import { connectGrpc, type GrpcClient } from "./grpc-client.ts";

/** Valid bodies with a few bytes changed, cut, doubled or inserted: all the way through redaction, decoding, the stored form and normalising. */
let capture: Capture;
let grpc: GrpcClient;
let unhandled = 0;
const count = () => unhandled++;
/** More than a mutated body ever needs, less than a leak of a few would leave. */
const ROOM_BYTES = 1_000_000;

// A thousand requests, each a round trip, on a machine that may be busy with others.
vi.setConfig({ testTimeout: 180_000 });
afterAll(() => vi.resetConfig());
beforeAll(async () => {
  process.on("unhandledRejection", count);
  capture = await startCapture({
    collector: { maxInFlightBytes: ROOM_BYTES },
    handler: async ({ signal, body }) => {
      if (signal === "logs") for (const { raw } of decodeLogs(body)) decodeStoredLog(raw);
      else for (const { value, raw } of decodeSpans(body)) normalise(decodeStoredSpan(raw) ?? value, []);
    },
  });
  grpc = connectGrpc(capture.grpcPort);
});
afterAll(async () => {
  process.off("unhandledRejection", count);
  grpc.close();
  await capture.close();
});

const BODIES = {
  traces: [
    readFileSync(new URL("../fixtures/otlp/openinference-openai.traces.bin", import.meta.url)),
    protobuf(
      traceRequest([
        spanJson({ attributes: { "gen_ai.operation.name": "chat", "gen_ai.input.messages": '[{"role":"user"}]', mail: "a@b.co" } }),
      ]),
    ),
  ],
  logs: [
    readFileSync(new URL("../fixtures/otlp/opentelemetry-openai.logs.bin", import.meta.url)),
    protobuf(logRequest([logJson("gen_ai.user.message", { content: "bob@example.com" })]), "logs"),
  ],
};

const edit = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  kind: fc.constantFrom("change", "cut", "double", "insert"),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 6 }),
});

function mutate(body: Uint8Array, edits: readonly { at: number; kind: string; bytes: Uint8Array }[]): Uint8Array {
  return edits.reduce<Uint8Array>((current, { at, kind, bytes }) => {
    const position = Math.floor(at * current.length);
    const [head, tail] = [current.subarray(0, position), current.subarray(position)];
    if (kind === "cut") return Buffer.concat([head, tail.subarray(bytes.length)]);
    if (kind === "double") return Buffer.concat([head, tail, tail]);
    if (kind === "insert") return Buffer.concat([head, bytes, tail]);
    return Buffer.concat([head, bytes, tail.subarray(bytes.length)]);
  }, body);
}

/** The same edits over and over would be one test: fast-check draws these and shrinks them to the smallest that fails. */
const edits = fc.array(edit, { minLength: 1, maxLength: 4 });
const RUNS = { numRuns: 1_000 };

const JSON_BODIES = {
  traces: [
    JSON.stringify(
      traceRequest([spanJson({ attributes: { "gen_ai.operation.name": "chat", mail: "a@b.co", list: [1, { deep: ["x"] }] } })]),
    ),
    JSON.stringify(traceRequest([{ ...spanJson(), events: [{ name: "e", timeUnixNano: "1" }], links: [], status: { code: 2 } }])),
  ],
  logs: [JSON.stringify(logRequest([logJson("gen_ai.user.message", { content: "bob@example.com" })]))],
};

/** A bad body is the sender's fault, and nothing of it is kept: afterwards a request that needs nearly all the room still has it. */
async function expectItsSendersFault(path: string, body: Uint8Array, headers: Record<string, string> = {}): Promise<void> {
  const response = await capture.post(path, body, headers);
  await response.arrayBuffer();
  expect([200, 400]).toContain(response.status);
  expect(unhandled).toBe(0);
}

const signals = fc.constantFrom("traces" as const, "logs" as const);

test.prop([signals, fc.nat(1), edits], RUNS)(
  "a mutated protobuf body is taken, partly taken or refused",
  async (signal, index, changes) => {
    await expectItsSendersFault(`/v1/${signal}`, mutate(BODIES[signal][index] ?? BODIES[signal][0]!, changes));
  },
);

test.prop([signals, fc.nat(1), edits], RUNS)("so is a mutated JSON body", async (signal, index, changes) => {
  const body = Buffer.from(JSON_BODIES[signal][index] ?? JSON_BODIES[signal][0]!);
  await expectItsSendersFault(`/v1/${signal}`, mutate(body, changes), { "content-type": "application/json" });
});

test.prop([signals, fc.constantFrom("gzip", "zstd"), edits], RUNS)("so is a mutated compressed body", async (signal, encoding, changes) => {
  const body = encoding === "gzip" ? gzipSync(BODIES[signal][1]!) : zstdCompressSync(BODIES[signal][1]!);
  await expectItsSendersFault(`/v1/${signal}`, mutate(body, changes), { "content-encoding": encoding });
});

test.prop([signals, edits], RUNS)("so is a mutated gRPC message", async (signal, changes) => {
  const { code } = await grpc.call(signal, mutate(BODIES[signal][1]!, changes));
  expect([0, 3]).toContain(code);
  expect(unhandled).toBe(0);
});

test.prop([fc.string({ unit: "binary", maxLength: 20 }), fc.jsonValue()], { numRuns: 80 })("any JSON is no crash", async (text, value) => {
  const parts = [
    text,
    JSON.stringify(value),
    JSON.stringify({ resourceSpans: value }),
    JSON.stringify(traceRequest([{ ...spanJson(), attributes: value }])),
  ];
  for (const body of parts) await expectItsSendersFault("/v1/traces", Buffer.from(body), { "content-type": "application/json" });
});

plainTest("after all of them every byte of the budget is free again", async () => {
  const large = protobuf(traceRequest([spanJson({ name: "x".repeat(ROOM_BYTES - 500) })]));
  expect((await capture.post("/v1/traces", large)).status).toBe(200);
});

import { readFileSync } from "node:fs";
import { fc, test } from "@fast-check/vitest";
import { afterAll, beforeAll, expect } from "vitest";
import { decodeLogs, decodeSpans, decodeStoredLog, decodeStoredSpan } from "../../src/trace/decode.ts";
import { normalise } from "../../src/trace/normalise.ts";
import { logJson, logRequest, protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { startCapture, type Capture } from "./capture.ts";

/** Valid bodies with a few bytes changed, cut, doubled or inserted: all the way through redaction, decoding, the stored form and normalising. */
let capture: Capture;
let unhandled = 0;
const count = () => unhandled++;

beforeAll(async () => {
  process.on("unhandledRejection", count);
  capture = await startCapture({
    handler: async ({ signal, body }) => {
      if (signal === "logs") for (const { raw } of decodeLogs(body)) decodeStoredLog(raw);
      else for (const { value, raw } of decodeSpans(body)) normalise(decodeStoredSpan(raw) ?? value, []);
    },
  });
});
afterAll(async () => {
  process.off("unhandledRejection", count);
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

test.prop([fc.constantFrom("traces" as const, "logs" as const), fc.nat(1), fc.array(edit, { minLength: 1, maxLength: 4 })], {
  numRuns: 300,
})("a mutated body is taken, partly taken or refused, never a 5xx", async (signal, index, edits) => {
  const response = await capture.post(`/v1/${signal}`, mutate(BODIES[signal][index]!, edits));
  await response.arrayBuffer();
  expect([200, 400]).toContain(response.status);
  expect(unhandled).toBe(0);
});

test.prop([fc.string({ unit: "binary", maxLength: 20 }), fc.jsonValue()], { numRuns: 80 })(
  "so is a mutated JSON body",
  async (text, value) => {
    const parts = [
      text,
      JSON.stringify(value),
      JSON.stringify({ resourceSpans: value }),
      JSON.stringify(traceRequest([{ ...spanJson(), attributes: value }])),
    ];
    for (const body of parts) {
      const response = await capture.post("/v1/traces", body, { "content-type": "application/json" });
      await response.arrayBuffer();
      expect([200, 400]).toContain(response.status);
    }
  },
);

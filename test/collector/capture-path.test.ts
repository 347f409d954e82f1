import { afterAll, beforeAll, expect, test } from "vitest";
import type { Database } from "../../src/store/database.ts";
import { normalise } from "../../src/trace/normalise.ts";
import { loadTraces, storeRecord } from "../../src/trace/span-store.ts";
import { logJson, logRequest, protobuf, SPAN_ID, spanJson, TRACE_ID, traceRequest } from "../fixtures/otlp/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { REDACTION_KEY, startCapture, type Capture } from "./capture.ts";

let database: Database;
let capture: Capture;

beforeAll(async () => {
  database = await memoryDatabase();
  capture = await startCapture({
    handler: async (record) => {
      await database.transaction(async (trx) => {
        await storeRecord(trx, record, { redactionKey: REDACTION_KEY });
      });
    },
  });
});

afterAll(async () => {
  await capture.close();
  await database.close();
});

test("a posted span and its log events come back from the store as one call", async () => {
  const span = spanJson({
    attributes: {
      "gen_ai.operation.name": "chat",
      "gen_ai.request.model": "tiny",
      "gen_ai.conversation.id": "c-1",
      "user.id": "alice@example.com",
    },
  });
  const events = [
    logJson("gen_ai.user.message", { content: "yes" }),
    logJson("gen_ai.assistant.message", { content: "Really?" }),
    logJson("gen_ai.user.message", { content: "yes" }),
    logJson("gen_ai.choice", { index: 0, finish_reason: "stop", message: { content: "Done." } }),
  ];
  expect((await capture.post("/v1/traces", protobuf(traceRequest([span])))).status).toBe(200);
  const json = await capture.post("/v1/logs", JSON.stringify(logRequest(events)), { "content-type": "application/json" });
  expect(json.status).toBe(200);

  const stored = await loadTraces(database.kysely, "default", [TRACE_ID]);
  expect(stored.spans).toHaveLength(1);
  const call = normalise(stored.spans[0]!, stored.logs);
  expect(call).toMatchObject({
    kind: "inference",
    dialect: "openai-log-events+genai",
    traceId: TRACE_ID,
    spanId: SPAN_ID,
    serviceName: "shop",
    conversationKey: "c-1",
    requestModel: "tiny",
    startNs: 1763725380000000001n,
    finishReasons: ["stop"],
    input: [
      { role: "user", parts: [{ type: "text", content: "yes" }] },
      { role: "assistant", parts: [{ type: "text", content: "Really?" }] },
      { role: "user", parts: [{ type: "text", content: "yes" }] },
    ],
    output: [{ role: "assistant", parts: [{ type: "text", content: "Done." }] }],
  });
  expect(call.subject).toMatch(/^<email_[a-z2-7]{8}>$/);
});

import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Database } from "../../src/store/database.ts";
import { loadTraces, storeRecord } from "../../src/trace/span-store.ts";
import type { TransportRecord } from "../../src/transport/transport.ts";
import { REDACTION_KEY } from "../collector/capture.ts";
import { recordOf } from "../conformance/transport.ts";
import { logJson, logRequest, protobuf, spanJson, TRACE_ID, traceRequest } from "../fixtures/otlp/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
let tenants = 0;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

/** A tenant of its own for every test, so that they share one database. */
const newTenant = () => `t${++tenants}`;
const store = (record: TransportRecord) => database.transaction((trx) => storeRecord(trx, record, { redactionKey: REDACTION_KEY }));
const traces = (tenant: string, spans: readonly object[], options?: Parameters<typeof traceRequest>[1]) =>
  recordOf(1, { tenant, body: protobuf(traceRequest(spans, options)) });
const logs = (tenant: string, records: readonly object[], receivedAtMs = 1) =>
  recordOf(1, { tenant, signal: "logs", receivedAtMs, body: protobuf(logRequest(records), "logs") });

test("a second delivery changes nothing and reports nothing", async () => {
  const tenant = newTenant();
  const record = traces(tenant, [spanJson(), spanJson({ spanId: "00000000000000aa" })]);
  expect((await store(record)).spans).toHaveLength(2);
  expect((await store(record)).spans).toEqual([]);
  expect((await loadTraces(database.kysely, tenant, [TRACE_ID])).spans).toHaveLength(2);
});

test("a span twice in one request is stored once; a changed span replaces the old one and is reported", async () => {
  const tenant = newTenant();
  expect((await store(traces(tenant, [spanJson(), spanJson()]))).spans).toHaveLength(1);
  const changed = await store(traces(tenant, [spanJson({ name: "chat again" })]));
  expect(changed.spans.map((span) => span.name)).toEqual(["chat again"]);
  expect((await loadTraces(database.kysely, tenant, [TRACE_ID])).spans.map((span) => span.name)).toEqual(["chat again"]);
});

test("equal messages of one call are both kept, in order, and a second delivery adds none", async () => {
  const tenant = newTenant();
  const said = ["yes", "no", "yes"].map((content) => logJson("gen_ai.user.message", { content }));
  expect((await store(logs(tenant, said))).logs).toHaveLength(3);
  expect((await store(logs(tenant, said, 99))).logs).toEqual([]);
  const loaded = (await loadTraces(database.kysely, tenant, [TRACE_ID])).logs.sort((a, b) =>
    Number((a.sequence ?? 0n) - (b.sequence ?? 0n)),
  );
  expect(loaded.map((log) => log.body)).toEqual([{ content: "yes" }, { content: "no" }, { content: "yes" }]);
});

test("tenants do not see each other's traces", async () => {
  const [one, other] = [newTenant(), newTenant()];
  await store(traces(one, [spanJson()]));
  expect((await loadTraces(database.kysely, other, [TRACE_ID])).spans).toEqual([]);
});

test("Nightshift's own spans stay out, the gateway's capture does not", async () => {
  const tenant = newTenant();
  expect((await store(traces(tenant, [spanJson()], { scope: "nightshift.internal" }))).spans).toEqual([]);
  expect((await store(traces(tenant, [spanJson()], { scope: "nightshift.gateway" }))).spans).toHaveLength(1);
});

test("a record from a foreign producer is redacted before the first write", async () => {
  const tenant = newTenant();
  const body = protobuf(traceRequest([spanJson({ attributes: { "user.id": "bob@example.com" } })]));
  await store(recordOf(1, { tenant, body: gzipSync(body), encoding: "gzip", redacted: false }));
  const rows = await database.kysely.selectFrom("spans").select("raw").where("tenant", "=", tenant).execute();
  expect(rows.map((row) => Buffer.from(row.raw).includes("example.com"))).toEqual([false]);
});

test("spans with unusable ids are left out, foreign bytes are refused for good", async () => {
  const tenant = newTenant();
  expect((await store(traces(tenant, [spanJson(), spanJson({ spanId: "" })]))).spans).toHaveLength(1);
  await expect(store(recordOf(1, { tenant, body: Buffer.from("not OTLP") }))).rejects.toMatchObject({
    code: "otlp_malformed",
    retryable: false,
  });
  await expect(store(recordOf(1, { tenant, body: Buffer.from("x"), encoding: "gzip" }))).rejects.toMatchObject({ code: "otlp_malformed" });
});

test("more rows than one statement takes", async () => {
  const tenant = newTenant();
  const spans = Array.from({ length: 5_003 }, (_, index) => spanJson({ spanId: (index + 1).toString(16).padStart(16, "0") }));
  expect((await store(traces(tenant, spans))).spans).toHaveLength(5_003);
});

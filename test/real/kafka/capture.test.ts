import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startIngest } from "../../../src/app/capture.ts";
import { startReceiver } from "../../../src/app/receiver.ts";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { parseConfig, type Config } from "../../../src/config.ts";
import type { KafkaConfig } from "../../../src/config-transport.ts";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { loadTraces } from "../../../src/trace/span-store.ts";
import { protobuf, spanJson, traceRequest } from "../../fixtures/otlp/build.ts";
import { memoryDatabase } from "../../store/memory-database.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { hex, requestsOf, sendAll, untilStored } from "./agents.ts";
import { numbers, openTransport, plainKafka, withTopics } from "./world.ts";

let server: KafkaServer;
let database: Database;
const dataDir = mkdtempSync(join(tmpdir(), "nightshift-capture-"));
beforeAll(async () => {
  [server, database] = await Promise.all([startKafka(), memoryDatabase()]);
});
afterAll(async () => {
  await server.close();
  await database.close();
  rmSync(dataDir, { recursive: true });
});

const log = silentLog();
const artifacts = createFileArtifactStore({ dir: join(dataDir, "artifacts") });
function configFor(transport: KafkaConfig): Config {
  return { ...parseConfig({ collector: { port: 0 } }), dataDir, transport };
}

test("agent to store with Kafka killed on the way: span ids sent are span ids stored, each once", async () => {
  const kafka = await withTopics(server, {}, { partitions: 3 });
  const config = configFor(kafka);
  const [edge, behind] = [openTransport(kafka), openTransport(kafka)];
  const receiver = await startReceiver(config, { transport: edge, artifacts, log, now: Date.now });
  const ingest = await startIngest(config, { transport: behind, artifacts, database, log, now: Date.now });

  const requests = requestsOf("kill", 60);
  const traces = requests.map(({ trace }) => trace);
  const sent = requests.flatMap(({ spans }) => spans);
  const sending = sendAll(receiver.port, requests);
  await sleep(300);
  await server.kill();
  await sleep(1_000);
  await server.restart();
  const attempts = await sending;
  const stored = await untilStored(database, traces, sent.length);
  await receiver.close();
  await ingest.close();
  await edge.close();
  await behind.close();
  expect(stored).toEqual(sent.toSorted());
  const { spans } = await loadTraces(database.kysely, "default", traces);
  expect(spans.filter(({ attributes }) => JSON.stringify([...Object.values(attributes)]).includes("@example.com"))).toEqual([]);
  process.stdout.write(`capture: ${JSON.stringify({ spans: sent.length, stored: stored.length, requests: traces.length, attempts })}\n`);
});

test("a request larger than a record goes in parts, one span that is larger by claim check: every span is stored as it was", async () => {
  const kafka = await withTopics(server, { maxRecordBytes: 20_000 });
  const config = configFor(kafka);
  const [edge, behind] = [openTransport(kafka), openTransport(kafka)];
  const receiver = await startReceiver(config, { transport: edge, artifacts, log, now: Date.now });
  const ingest = await startIngest(config, { transport: behind, artifacts, database, log, now: Date.now });
  const trace = hex("large", 32);
  const noise = (index: number, length: number) => hex(`noise-${index}`, 64).repeat(Math.ceil(length / 64)) + index;
  const ids = numbers(30).map((index) => hex(`large-${index}`, 16));
  const spans = ids.map((spanId, index) =>
    spanJson({ traceId: trace, spanId, attributes: { text: noise(index, index === 7 ? 30_000 : 3_000) } }),
  );
  // Uncompressed on the wire, so that the record's size is the request's.
  const response = await fetch(`http://127.0.0.1:${receiver.port}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf" },
    body: protobuf(traceRequest(spans)) as Uint8Array<ArrayBuffer>,
  });
  expect(response.status).toBe(200);
  expect((await response.arrayBuffer()).byteLength).toBe(0);
  const stored = await untilStored(database, [trace], 30);
  const { spans: loaded } = await loadTraces(database.kysely, "default", [trace]);
  await receiver.close();
  await ingest.close();
  await edge.close();
  await behind.close();
  expect(stored).toEqual(ids.toSorted());
  expect(loaded.find(({ spanId }) => spanId === ids[7])?.attributes).toEqual({ text: noise(7, 30_000) });
});

test("what a stock Collector wrote is redacted before it is stored", async () => {
  const kafka = await withTopics(server);
  const producer = plainKafka(server.brokers).producer();
  await producer.connect();
  const trace = hex("stranger", 32);
  const span = spanJson({ traceId: trace, spanId: hex("stranger", 16), attributes: { "user.id": "carol@example.com" } });
  await producer.send({ topic: kafka.topics.traces, messages: [{ value: Buffer.from(protobuf(traceRequest([span]))) }] });
  await producer.disconnect();
  const transport = openTransport(kafka);
  const ingest = await startIngest(configFor(kafka), { transport, artifacts, database, log, now: Date.now });
  await untilStored(database, [trace], 1);
  await ingest.close();
  await transport.close();
  const { spans } = await loadTraces(database.kysely, "default", [trace]);
  expect(spans[0]?.attributes["user.id"]).toEqual(expect.stringMatching(/^<email_[a-z2-7]{8}>$/));
});

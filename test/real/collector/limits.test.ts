import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readTopic } from "../kafka/world.ts";
import { makeCertificate } from "../parts/certificate.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { post, send, startIntake, startStock } from "./intake.ts";
import { largeSpans } from "./large-spans.ts";

const LOGIN = { username: "nightshift", password: "not-a-secret-of-anybody" };
const directory = mkdtempSync(join(tmpdir(), "nightshift-otelcol-"));
let kafka: KafkaServer;
let postgres: PostgresServer;
let caFile: string;
beforeAll(async () => {
  const certificate = await makeCertificate(directory);
  caFile = certificate.caFile;
  const secure = { keyAndCertificate: certificate.keyAndCertificate, ...LOGIN };
  [kafka, postgres] = await Promise.all([startKafka({ secure }), startPostgres()]);
});
afterAll(async () => {
  await Promise.all([kafka.close(), postgres.remove()]);
  rmSync(directory, { recursive: true });
});

test("a request larger than a record goes in parts; a span that is larger on its own keeps out itself and what is behind it", async () => {
  const intake = await startIntake({ kafka, postgres }, "large");
  const stock = await startStock(intake, kafka.brokers, { env: { KAFKA_COMPRESSION: "none" } });
  const { spanIds, request } = largeSpans("large", { count: 30, bytes: 102_400 });
  expect(request.length).toBeGreaterThan(3_000_000);
  expect(await send(stock.url, "traces", request)).toBe(200);
  await intake.untilStored({ spans: spanIds.length, logs: 0 });
  expect(await intake.spanIds()).toEqual(spanIds);
  const records = await readTopic(kafka.brokers, intake.topics.traces, 4);
  for (const { value } of records) expect(value?.length).toBeLessThanOrEqual(900_000);

  // Messages of protobuf behind each other are one, with the spans of all.
  const before = largeSpans("before", { count: 2, bytes: 1_280 });
  const behind = largeSpans("behind", { count: 2, bytes: 1_280 });
  const later = largeSpans("later", { count: 2, bytes: 1_280 });
  const tooLarge = largeSpans("too large", { count: 1, bytes: 1_280_000 });
  const mixed = new Uint8Array(Buffer.concat([before.request, tooLarge.request, behind.request]));
  expect((await post(stock.url, "traces", mixed)).status).toBe(503);
  expect(await send(stock.url, "traces", later.request)).toBe(200);
  await intake.untilStored({ spans: spanIds.length + before.spanIds.length + later.spanIds.length, logs: 0 });
  expect(await intake.spanIds()).toEqual([...spanIds, ...before.spanIds, ...later.spanIds].toSorted());
  await Promise.all([stock.stop(), intake.close()]);
});

test("a topic that takes less than what the exporter cuts to loses the request: the answer is one that SDKs do not repeat", async () => {
  const intake = await startIntake({ kafka, postgres }, "small_topic", { config: { "max.message.bytes": "100000" } });
  const stock = await startStock(intake, kafka.brokers, { env: { KAFKA_COMPRESSION: "none" } });
  const { spanIds, request } = largeSpans("small topic", { count: 10, bytes: 25_600 });
  expect(await send(stock.url, "traces", request)).toBe(500);
  await stock.stop();
  const mended = await startStock(intake, kafka.brokers, {
    env: { KAFKA_COMPRESSION: "none", KAFKA_MAX_MESSAGE_BYTES: "100000", KAFKA_SPLIT_BYTES: "90000" },
  });
  expect(await send(mended.url, "traces", request)).toBe(200);
  await intake.untilStored({ spans: spanIds.length, logs: 0 });
  await Promise.all([mended.stop(), intake.close()]);
});

test("with the topic and both settings raised, a larger span is taken", async () => {
  const intake = await startIntake({ kafka, postgres }, "raised", { config: { "max.message.bytes": "4000000" } });
  const env = { KAFKA_COMPRESSION: "none", KAFKA_MAX_MESSAGE_BYTES: "4000000", KAFKA_SPLIT_BYTES: "3900000" };
  const stock = await startStock(intake, kafka.brokers, { env });
  const { spanIds, request } = largeSpans("raised", { count: 4, bytes: 1_920_000 });
  expect(await send(stock.url, "traces", request)).toBe(200);
  await intake.untilStored({ spans: spanIds.length, logs: 0 });
  expect(await intake.spanIds()).toEqual(spanIds);
  await Promise.all([stock.stop(), intake.close()]);
});

test("no answer of success without Kafka: 503 while the brokers are away, and the request is taken once they are back", async () => {
  const intake = await startIntake({ kafka, postgres }, "away");
  const stock = await startStock(intake, kafka.brokers);
  const { spanIds, request } = largeSpans("away", { count: 3, bytes: 1_280 });
  await kafka.kill();
  expect((await post(stock.url, "traces", request)).status).toBe(503);
  await kafka.restart();
  expect(await send(stock.url, "traces", request)).toBe(200);
  await intake.untilStored({ spans: spanIds.length, logs: 0 });
  expect(await intake.spanIds()).toEqual(spanIds);
  await Promise.all([stock.stop(), intake.close()]);
});

test("what inflates to more than the limit is refused; metrics are answered and dropped", async () => {
  const intake = await startIntake({ kafka, postgres }, "bomb");
  const stock = await startStock(intake, kafka.brokers);
  const bomb = await fetch(`${stock.url}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf", "content-encoding": "gzip" },
    body: new Uint8Array(gzipSync(Buffer.alloc(65 * 1024 * 1024))),
  });
  expect(bomb.status).toBe(400);
  expect(await send(stock.url, "metrics", new Uint8Array())).toBe(200);
  await Promise.all([stock.stop(), intake.close()]);
});

test("by TLS with a login; a wrong password is answered with 503, so that SDKs keep what they sent", async () => {
  const intake = await startIntake({ kafka, postgres }, "secure");
  const files = ["kafka-tls.yaml", "kafka-sasl.yaml"];
  const login = { KAFKA_CA_FILE: caFile, KAFKA_SASL_USERNAME: LOGIN.username, KAFKA_SASL_PASSWORD: LOGIN.password };
  const { spanIds, request } = largeSpans("secure", { count: 3, bytes: 1_280 });
  for (const mechanism of ["PLAIN", "SCRAM-SHA-512"]) {
    const stock = await startStock(intake, kafka.secureBrokers, { files, env: { ...login, KAFKA_SASL_MECHANISM: mechanism } });
    expect(await send(stock.url, "traces", request)).toBe(200);
    await stock.stop();
  }
  await intake.untilStored({ spans: spanIds.length, logs: 0 });
  const locked = await startStock(intake, kafka.secureBrokers, { files, env: { ...login, KAFKA_SASL_PASSWORD: "wrong" } });
  expect((await post(locked.url, "traces", request)).status).toBe(503);
  expect(locked.tail()).not.toContain(LOGIN.password);
  await Promise.all([locked.stop(), intake.close()]);
});

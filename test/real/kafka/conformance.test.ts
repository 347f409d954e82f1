import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLagMeter } from "../../../src/transport/kafka/lag.ts";
import { describeTransport, recordOf } from "../../conformance/transport.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { committed, createLedger, openTransport, plainKafka, publishStubbornly, readTopic, recordsOf, withTopics } from "./world.ts";

let server: KafkaServer;
beforeAll(async () => {
  server = await startKafka();
});
afterAll(() => server.close());

describeTransport("kafka", async () => ({ transport: openTransport(await withTopics(server, {}, { partitions: 3 })) }));

test("what is published before anyone subscribes is delivered to who comes", async () => {
  const transport = openTransport(await withTopics(server));
  for (const record of recordsOf(5)) expect(await transport.publish(record)).toEqual({ status: "stored" });
  const ledger = createLedger();
  await transport.subscribe(async (record) => ledger.add(record));
  await ledger.until(5);
  await transport.close();
  expect(ledger.order).toEqual([0, 1, 2, 3, 4]);
});

test("offsets are committed behind finished records, and a new member starts there", async () => {
  const config = await withTopics(server);
  const first = openTransport(config);
  const ledger = createLedger();
  await first.subscribe(async (record) => ledger.add(record));
  for (const record of recordsOf(10)) await publishStubbornly(first, record);
  await ledger.until(10);
  await first.close();
  expect(await committed(config, config.topics.traces)).toBe(10);

  const second = openTransport(config);
  const later = createLedger();
  await second.subscribe(async (record) => later.add(record));
  await publishStubbornly(second, recordOf(10));
  await later.until(1);
  await second.close();
  expect(later.order).toEqual([10]);
});

test("the lag is what the brokers hold and the group has not committed", async () => {
  const config = await withTopics(server, {}, { partitions: 2 });
  const transport = openTransport(config);
  for (const record of recordsOf(5)) await publishStubbornly(transport, record);
  await publishStubbornly(transport, { ...recordOf(5), signal: "logs" });
  const admin = plainKafka(server.brokers).admin();
  await admin.connect();
  const meter = createLagMeter(config, { admin });
  expect(await meter.measure()).toEqual({ traces: 5, logs: 1 });
  const ledger = createLedger();
  await transport.subscribe(async (record) => ledger.add(record));
  await ledger.until(6);
  await transport.close();
  expect(await meter.measure()).toEqual({ traces: 0, logs: 0 });
  await admin.disconnect();
});

test("records with one key share a partition and keep their order", async () => {
  const config = await withTopics(server, {}, { partitions: 4 });
  const transport = openTransport(config);
  for (const record of recordsOf(40)) await transport.publish(record, { key: `trace-${record.receivedAtMs % 4}` });
  await transport.close();
  const places = new Map<string, Set<number>>();
  const consumer = plainKafka(server.brokers).consumer({ groupId: `${config.groupId}-keys` });
  await consumer.connect();
  await consumer.subscribe({ topic: config.topics.traces, fromBeginning: true });
  const seen = Promise.withResolvers<void>();
  let count = 0;
  await consumer.run({
    eachMessage: ({ message, partition }) => {
      const key = String(message.key);
      places.set(key, (places.get(key) ?? new Set()).add(partition));
      if (++count === 40) seen.resolve();
      return Promise.resolve();
    },
  });
  await seen.promise;
  await consumer.disconnect();
  expect([...places.values()].map((partitions) => partitions.size)).toEqual([1, 1, 1, 1]);
});

test("a record that its topic does not take is told apart from what a retry would mend", async () => {
  const config = await withTopics(server, { maxRecordBytes: 100_000, compression: "none" }, { config: { "max.message.bytes": "50000" } });
  const transport = openTransport(config);
  const of = (bytes: number) => transport.publish({ ...recordOf(1), body: Buffer.alloc(bytes, 1) });
  expect(await of(40_000)).toEqual({ status: "stored" });
  // The broker's limit, which the config does not know, then the config's.
  expect(await of(60_000)).toEqual({ status: "too_large", maxBytes: 30_000 });
  expect(await of(200_000)).toEqual({ status: "too_large", maxBytes: 100_000 });
  expect(await of(40_000)).toEqual({ status: "stored" });
  await transport.close();
  expect(await readTopic(server.brokers, config.topics.traces, 2)).toHaveLength(2);
});

test("over the bound of bytes in flight senders are told to come back, and get through when they do", async () => {
  const transport = openTransport(await withTopics(server, { maxInFlightBytes: 250_000 }));
  const record = { ...recordOf(1), body: Buffer.alloc(100_000, 1) };
  const results = await Promise.all([1, 2, 3, 4, 5].map(() => transport.publish(record)));
  expect(results.map(({ status }) => status)).toEqual(["stored", "stored", "retryable", "retryable", "retryable"]);
  expect(await transport.publish(record)).toEqual({ status: "stored" });
  await transport.close();
});

test("a program of its own: nothing on stderr, idle while there is nothing to do, and it ends by itself after close", async () => {
  const { brokers, topics } = await withTopics(server);
  const script = join(import.meta.dirname, "one-record.ts");
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [script, JSON.stringify({ brokers, topics })], {
    timeout: 60_000,
  });
  expect(stderr).toBe("");
  process.stdout.write(`idle for 2 s: ${stdout}`);
  expect(JSON.parse(stdout)).toEqual({ idleCpuMs: expect.any(Number) });
});

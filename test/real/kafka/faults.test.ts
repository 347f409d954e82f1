import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { recordOf } from "../../conformance/transport.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { createLedger, kafkaConfig, numbers, openTransport, publishStubbornly, recordsOf, withTopics } from "./world.ts";

let server: KafkaServer;
afterEach(() => server.close());

test("killed with -9 under load and back: everything acknowledged is delivered", async () => {
  server = await startKafka();
  const config = await withTopics(server, {}, { partitions: 3 });
  const sender = openTransport(config);
  const ingest = openTransport(config);
  const ledger = createLedger();
  await ingest.subscribe(async (record) => ledger.add(record));

  const total = 1_000;
  const stored = new Set<number>();
  const next = numbers(total).values();
  const attempts = { total: 0 };
  const clients = numbers(20).map(async () => {
    for (const number of next) {
      const needed = await publishStubbornly(sender, recordOf(number));
      attempts.total += needed;
      stored.add(number);
    }
  });
  while (stored.size < 200) await sleep(5);
  await server.kill();
  await sleep(1_500);
  await server.restart();
  await Promise.all(clients);
  await ledger.until(total);
  await sender.close();
  await ingest.close();
  expect(stored.size).toBe(total);
  expect([...ledger.counts.keys()].toSorted((a, b) => a - b)).toEqual(numbers(total));
  report("kill -9", { sent: total, attempts: attempts.total, delivered: ledger.order.length, duplicates: ledger.duplicates() });
});

test("not there at the start: publish says when to come back, and both sides connect once it is", async () => {
  server = await startKafka({ isUp: false });
  const config = kafkaConfig(server.brokers);
  const transport = openTransport(config);
  const ledger = createLedger();
  await transport.subscribe(async (record) => ledger.add(record));
  const startedMs = performance.now();
  const refused = await transport.publish(recordOf(0));
  expect(refused).toMatchObject({ status: "retryable" });
  expect(performance.now() - startedMs).toBeLessThan(config.publishTimeoutMs + 500);
  // Within the moment after a failure nobody waits.
  const again = performance.now();
  expect(await transport.publish(recordOf(0))).toMatchObject({ status: "retryable" });
  expect(performance.now() - again).toBeLessThan(50);

  await server.restart();
  // The broker is there, its topics are not yet.
  expect(await transport.publish(recordOf(0))).toMatchObject({ status: "retryable" });
  for (const topic of Object.values(config.topics)) await server.createTopic(topic);
  await Promise.all(recordsOf(50).map((record) => publishStubbornly(transport, record)));
  await ledger.until(50);
  await transport.close();
});

test("a topic that is missing makes nobody wait but its own senders", async () => {
  server = await startKafka();
  const config = kafkaConfig(server.brokers);
  await server.createTopic(config.topics.traces);
  const transport = openTransport(config);
  await publishStubbornly(transport, recordOf(0));
  expect(await transport.publish({ ...recordOf(1), signal: "logs" })).toMatchObject({ status: "retryable" });
  expect(await transport.publish(recordOf(2))).toEqual({ status: "stored" });
  await transport.close();
});

test("stopped in between: records wait with the senders, the consumer comes back by itself", async () => {
  server = await startKafka();
  const config = await withTopics(server, {}, { partitions: 2 });
  const transport = openTransport(config);
  const ledger = createLedger();
  await transport.subscribe(async (record) => ledger.add(record));
  await Promise.all(recordsOf(20).map((record) => publishStubbornly(transport, record)));
  await ledger.until(20);
  await server.stop();
  expect(await transport.publish(recordOf(20))).toMatchObject({ status: "retryable" });
  const later = Promise.all(numbers(30).map((number) => publishStubbornly(transport, recordOf(20 + number))));
  await server.restart();
  await later;
  await ledger.until(50);
  await transport.close();
  report("stopped", { sent: 50, delivered: ledger.order.length, duplicates: ledger.duplicates() });
});

test("frozen: no answer within the limit is retryable, and nothing is lost when it thaws", async () => {
  server = await startKafka();
  const config = await withTopics(server, { publishTimeoutMs: 1_000, maxInFlightBytes: 1_000 });
  const transport = openTransport(config);
  const ledger = createLedger();
  await transport.subscribe(async (record) => ledger.add(record));
  await publishStubbornly(transport, recordOf(0));
  await ledger.until(1);

  server.freeze();
  const body = Buffer.from("1".padStart(600, "0"));
  const startedMs = performance.now();
  const [slow, over] = await Promise.all([transport.publish({ ...recordOf(1), body }), transport.publish({ ...recordOf(1), body })]);
  expect(slow).toMatchObject({ status: "retryable" });
  expect(over).toMatchObject({ status: "retryable" });
  expect(performance.now() - startedMs).toBeLessThan(2_500);
  server.thaw();
  await publishStubbornly(transport, recordOf(1));
  await Promise.all(numbers(20).map((number) => publishStubbornly(transport, recordOf(2 + number))));
  await ledger.until(22);
  await transport.close();
  report("frozen", { sent: 22, delivered: ledger.order.length, duplicates: ledger.duplicates() });
});

test("close is bounded with a broker that never answers", async () => {
  server = await startKafka();
  const transport = openTransport(await withTopics(server, { publishTimeoutMs: 1_000 }));
  await transport.subscribe(async () => {});
  await publishStubbornly(transport, recordOf(0));
  server.freeze();
  const late = transport.publish(recordOf(1));
  const startedMs = performance.now();
  await transport.close();
  expect(performance.now() - startedMs).toBeLessThan(30_000);
  expect(await late).toMatchObject({ status: "retryable" });
  server.thaw();
});

/** Counts that a person who runs the suite wants to see. */
function report(what: string, figures: Record<string, number>): void {
  process.stdout.write(`${what}: ${JSON.stringify(figures)}\n`);
}

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nightshiftError } from "../../../src/errors.ts";
import type { TransportRecord } from "../../../src/transport/transport.ts";
import { recordOf } from "../../conformance/transport.ts";
import { until } from "../../e2e/processes.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import {
  committed,
  createLedger,
  numbers,
  openTransport,
  plainKafka,
  publishStubbornly,
  readTopic,
  recordsOf,
  withTopics,
} from "./world.ts";

let server: KafkaServer;
beforeAll(async () => {
  server = await startKafka();
});
afterAll(() => server.close());

test("poison is put aside with the reason, in its place; the others go on in order", async () => {
  const config = await withTopics(server);
  const producer = plainKafka(server.brokers).producer();
  await producer.connect();
  const write = (value: string | null, headers: Record<string, string> = {}) =>
    producer.send({ topic: config.topics.traces, messages: [{ key: "k", value, headers }] });
  await write("0");
  await write("1", { "nightshift-encoding": "rot13" });
  await write(null);
  await write("3");
  await write("4");
  await producer.disconnect();

  const transport = openTransport(config);
  const ledger = createLedger();
  await transport.subscribe(async (record) => {
    if (numberOf(record) === 3) throw nightshiftError("otlp_malformed", { where: "Span", problem: "cut off" });
    ledger.add(record);
  });
  await ledger.until(2);
  await transport.close();
  expect(ledger.order).toEqual([0, 4]);
  expect(await committed(config, config.topics.traces)).toBe(5);
  const letters = await readTopic(server.brokers, config.topics.deadLetter, 3);
  const told = letters.map(({ value, key, headers }) => ({
    value: value?.toString() ?? null,
    key: String(key),
    code: String(headers?.["nightshift-error-code"]),
    problem: String(headers?.["nightshift-error"]),
    at: `${String(headers?.["nightshift-source-topic"])}/${String(headers?.["nightshift-source-partition"])}/${String(headers?.["nightshift-source-offset"])}`,
  }));
  const at = (offset: number) => `${config.topics.traces}/0/${offset}`;
  const invalid = (problem: string) => ({ code: "kafka_record_invalid", problem: `the Kafka record is not one of ours: ${problem}` });
  expect(told).toEqual([
    { value: "1", key: "k", at: at(1), ...invalid('header nightshift-encoding is "rot13"') },
    { value: null, key: "k", at: at(2), ...invalid("it has no value") },
    { value: "3", key: "k", at: at(3), code: "otlp_malformed", problem: "the OTLP request cannot be read: Span: cut off" },
  ]);
});

test("a handler that fails for a while holds back its partition only, in order, and keeps its membership", async () => {
  const config = await withTopics(server, {}, { partitions: 2 });
  const transport = openTransport(config);
  const ledger = createLedger();
  let isDown = true;
  let failures = 0;
  await transport.subscribe(async (record) => {
    if (isDown && record.tenant === "held") {
      failures++;
      throw nightshiftError("store_unavailable", { problem: "restarting" });
    }
    ledger.add(record);
  });
  const producer = plainKafka(server.brokers).producer();
  await producer.connect();
  const write = (number: number, partition: number, tenant: string) =>
    producer.send({
      topic: config.topics.traces,
      messages: [{ value: String(number), partition, headers: { "nightshift-tenant": tenant } }],
    });
  for (const number of [0, 1, 2]) await write(number, 0, "held");
  for (const number of [10, 11, 12]) await write(number, 1, "free");
  await ledger.until(3);
  expect(ledger.order).toEqual([10, 11, 12]);
  // Longer than the session: without heartbeats the group would have thrown it out.
  await sleep(config.sessionTimeoutMs + 2_000);
  expect(failures).toBeGreaterThan(2);
  expect(await groupMembers(config.groupId)).toBe(1);
  isDown = false;
  await ledger.until(6);
  await write(3, 0, "held");
  await ledger.until(7);
  await transport.close();
  await producer.disconnect();
  expect(ledger.order.filter((number) => number < 10)).toEqual([0, 1, 2, 3]);
  expect(ledger.duplicates()).toBe(0);
});

test("a handler that takes longer than the session keeps its partition", async () => {
  const config = await withTopics(server);
  const transport = openTransport(config);
  const ledger = createLedger();
  await transport.subscribe(async (record) => {
    if (numberOf(record) === 0) await sleep(config.sessionTimeoutMs + 2_000);
    ledger.add(record);
  });
  for (const record of recordsOf(3)) await publishStubbornly(transport, record);
  await ledger.until(3);
  await transport.close();
  expect(ledger.order).toEqual([0, 1, 2]);
});

test("members that join and leave in the middle: nothing is lost", async () => {
  const config = await withTopics(server, {}, { partitions: 6 });
  const sender = openTransport(config);
  const ledger = createLedger();
  const handler = (who: Set<number>) => async (record: TransportRecord) => {
    await sleep(5);
    who.add(numberOf(record));
    ledger.add(record);
  };
  const first = { transport: openTransport(config), handled: new Set<number>() };
  const second = { transport: openTransport(config), handled: new Set<number>() };
  await first.transport.subscribe(handler(first.handled));
  let sent = 0;
  let isSending = true;
  const sending = Promise.all(
    numbers(10).map(async () => {
      while (isSending) {
        await publishStubbornly(sender, recordOf(sent++));
        await sleep(10);
      }
    }),
  );
  await ledger.until(100);
  const stop = await second.transport.subscribe(handler(second.handled));
  await until("the second member has its share", 60_000, () => (second.handled.size >= 50 ? true : null));
  await stop();
  const before = ledger.counts.size;
  await ledger.until(before + 100);
  isSending = false;
  await sending;
  await ledger.until(sent);
  await Promise.all([first, second].map(({ transport }) => transport.close()));
  await sender.close();
  expect([...ledger.counts.keys()].toSorted((a, b) => a - b)).toEqual(numbers(sent));
  const figures = { sent, first: first.handled.size, second: second.handled.size, duplicates: ledger.duplicates() };
  process.stdout.write(`rebalance: ${JSON.stringify(figures)}\n`);
});

async function groupMembers(groupId: string): Promise<number> {
  const admin = plainKafka(server.brokers).admin();
  await admin.connect();
  const { groups } = await admin.describeGroups([groupId]);
  await admin.disconnect();
  return groups[0]?.members.length ?? 0;
}

function numberOf(record: TransportRecord): number {
  return Number(Buffer.from(record.body).toString());
}

import { randomUUID } from "node:crypto";
import { Kafka, logLevel, type KafkaMessage } from "kafkajs";
import { parseConfig } from "../../../src/config.ts";
import type { KafkaConfig } from "../../../src/config-transport.ts";
import { silentLog } from "../../../src/log.ts";
import { createKafkaTransport } from "../../../src/transport/kafka.ts";
import type { PublishResult, Transport, TransportRecord } from "../../../src/transport/transport.ts";
import { recordOf } from "../../conformance/transport.ts";
import type { KafkaServer } from "../parts/kafka.ts";

/** The transport's config for topics and a group of their own. */
export function kafkaConfig(brokers: readonly string[], overrides: Partial<KafkaConfig> = {}): KafkaConfig {
  const id = randomUUID().slice(0, 8);
  const topics = { traces: `spans-${id}`, logs: `logs-${id}`, deadLetter: `dead-${id}` };
  const { transport } = parseConfig({
    transport: { driver: "kafka", brokers, topics, groupId: `group-${id}`, sessionTimeoutMs: 6_000, publishTimeoutMs: 4_000, ...overrides },
  });
  if (transport.driver !== "kafka") throw new Error("not kafka");
  return transport;
}

/** A config whose topics exist. */
export async function withTopics(
  server: KafkaServer,
  overrides: Partial<KafkaConfig> = {},
  topic: { partitions?: number; config?: Record<string, string> } = {},
): Promise<KafkaConfig> {
  const config = kafkaConfig(server.brokers, overrides);
  for (const name of Object.values(config.topics)) await server.createTopic(name, topic);
  return config;
}

export function openTransport(config: KafkaConfig): Transport {
  return createKafkaTransport(config, { log: silentLog() });
}

/** A kafkajs client as any other program would have it. */
export function plainKafka(brokers: string[]): Kafka {
  return new Kafka({ brokers, clientId: "stranger", logLevel: logLevel.NOTHING });
}

/** Repeats what is retryable, waiting as long as it says, like an exporter. Resolves to the attempts that it took. */
export async function publishStubbornly(transport: Transport, record: TransportRecord): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    const result: PublishResult = await transport.publish(record);
    if (result.status === "stored") return attempt;
    if (result.status === "too_large") throw new Error("too large");
    await new Promise((resolve) => setTimeout(resolve, result.retryAfterMs));
  }
}

/** Distinct records by number, how often each came, and in what order. */
export function createLedger() {
  const counts = new Map<number, number>();
  const order: number[] = [];
  const waiting = new Set<() => void>();
  return {
    counts,
    order,
    add(record: TransportRecord): void {
      const number = Number(Buffer.from(record.body).toString());
      counts.set(number, (counts.get(number) ?? 0) + 1);
      order.push(number);
      for (const wake of waiting) wake();
    },
    /** Resolves once `wanted` distinct records have come. */
    until: (wanted: number): Promise<void> =>
      new Promise((resolve) => {
        const check = (): void => {
          if (counts.size < wanted) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      }),
    duplicates: () => order.length - counts.size,
  };
}

export const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
export const recordsOf = (count: number): TransportRecord[] => numbers(count).map((number) => recordOf(number));

/** Reads a topic from its beginning until it has `count` records. */
export async function readTopic(brokers: string[], topic: string, count: number): Promise<KafkaMessage[]> {
  const consumer = plainKafka(brokers).consumer({ groupId: `reader-${randomUUID()}`, maxWaitTimeInMs: 200 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const messages: KafkaMessage[] = [];
  const all = Promise.withResolvers<void>();
  await consumer.run({
    eachMessage: ({ message }) => {
      messages.push(message);
      if (messages.length === count) all.resolve();
      return Promise.resolve();
    },
  });
  await all.promise;
  await consumer.disconnect();
  return messages;
}

/** Committed offsets of the group, summed over the partitions of a topic; -1 counts as 0. */
export async function committed(config: KafkaConfig, topic: string): Promise<number> {
  const admin = plainKafka(config.brokers).admin();
  await admin.connect();
  const groups = await admin.fetchOffsets({ groupId: config.groupId, topics: [topic] });
  await admin.disconnect();
  return groups.flatMap(({ partitions }) => partitions).reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0);
}

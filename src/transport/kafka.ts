import type { KafkaConfig } from "../config-transport.ts";
import type { Logger } from "../log.ts";
import { createKafkaClient } from "./kafka/client.ts";
import { createConnection } from "./kafka/connection.ts";
import { createDeadLetters } from "./kafka/dead-letter.ts";
import { createDeliver } from "./kafka/delivery.ts";
import { createLagMeter } from "./kafka/lag.ts";
import { createPublisher } from "./kafka/publisher.ts";
import { startSubscription, type Subscription } from "./kafka/subscription.ts";
import type { RecordHandler, Transport } from "./transport.ts";

/**
 * Longest waits when a process stops, for records in the handler and for those on their way to the brokers, which nobody was told are stored. Orchestrators allow 30
 * seconds for everything, of which the receiver may take ten.
 */
const STOP_LIMIT_MS = 12_000;
const CLOSE_LIMIT_MS = 5_000;
const LAG_INTERVAL_MS = 15_000;

/**
 * The transport over Kafka: one topic per signal, the records that a stock OpenTelemetry Collector writes are read just the same. `publish` answers `stored`
 * when every in-sync replica has the record. Delivery is at least once and in the order of each partition.
 * Connects when first used, and again whenever it has to.
 * @throws NightshiftError `kafka_file_unreadable`
 */
export function createKafkaTransport(config: KafkaConfig, deps: { log: Logger }): Transport {
  const { log } = deps;
  const kafka = createKafkaClient(config, { log, requestTimeoutMs: config.publishTimeoutMs });
  const publisher = createPublisher(config, { kafka, log });
  const stops = new Set<() => Promise<void>>();
  const readers = new Set<Subscription>();

  function subscribe(handler: RecordHandler): () => Promise<void> {
    const deadLetters = createDeadLetters(config.topics.deadLetter, { send: (topic, message) => publisher.send(topic, message), log });
    const subscription = startSubscription(config, { kafka, deliver: createDeliver(config.tenant, { handler, deadLetters, log }), log });
    readers.add(subscription);
    const admin = kafka.admin();
    const connection = createConnection(admin, { name: "admin", log });
    const lag = createLagMeter(config, { admin });
    const measuring = setInterval(() => {
      const measured = connection.ready().then(() => lag.measure());
      measured.catch((error: unknown) => log.debug({ err: error }, "kafka lag not measured"));
    }, LAG_INTERVAL_MS);
    return async () => {
      clearInterval(measuring);
      readers.delete(subscription);
      await subscription.stop(STOP_LIMIT_MS);
      await connection.close(1_000);
    };
  }

  return {
    publish: (record, options) => publisher.publish(record, options),
    // oxlint-disable-next-line typescript/require-await -- the connection is made behind it, however long Kafka is away
    async subscribe(handler) {
      const stop = subscribe(handler);
      stops.add(stop);
      return () => {
        stops.delete(stop);
        return stop();
      };
    },
    isReading: () => [...readers].some((subscription) => subscription.isMember()),
    async close() {
      await Promise.all([...stops].map((stop) => stop()));
      stops.clear();
      await publisher.close(CLOSE_LIMIT_MS);
    },
  };
}

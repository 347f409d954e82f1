import { setTimeout as sleep } from "node:timers/promises";
import type { Consumer, Kafka } from "kafkajs";
import type { KafkaConfig } from "../../config-transport.ts";
import type { Logger } from "../../log.ts";
import { createBatchWorker } from "./batch.ts";
import { RETRY } from "./client.ts";
import { within } from "./connection.ts";
import type { Deliver } from "./delivery.ts";
import { kafkaFailure } from "./failure.ts";

/** A membership in the consumer group that outlives every consumer. */
export interface Subscription {
  /** The group has heard from this member, and it from the group, within a session. */
  isMember(): boolean;
  /** Finishes the records at hand, commits, leaves the group; after `limitMs` it gives them up, and another member gets them again. */
  stop(limitMs: number): Promise<void>;
}

const HEARTBEAT_INTERVAL_MS = 3_000;
const COMMIT_INTERVAL_MS = 1_000;
/** How long a fetch waits for records, and how long a resumed partition waits for its next fetch. */
const FETCH_WAIT_MS = 500;
/** A consumer that leaves finishes the records at hand first. */
const DISCONNECT_LIMIT_MS = 15_000;
const FIRST_BACKOFF_MS = 250;
const LONGEST_BACKOFF_MS = 3_000;

/**
 * Keeps one consumer in the group. Whatever ends it (brokers gone, topics missing, credentials refused), a new one is made after a growing wait: one way back
 * for every failure, in place of kafkajs' restarts, which depend on the kind of error.
 */
export function startSubscription(config: KafkaConfig, deps: { kafka: Kafka; deliver: Deliver; log: Logger }): Subscription {
  const { log } = deps;
  const stopping = new AbortController();
  const giveUp = new AbortController();
  const state = { failures: 0, heardMs: -Infinity };

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      const consumer = createConsumer(deps.kafka, config);
      try {
        await consumeUntil(consumer);
      } catch (cause) {
        const { code, message, fix } = kafkaFailure(cause, config);
        log.warn({ code, problem: message, fix, failures: state.failures }, "kafka consumer ended, another one starts");
      }
      const disconnected = consumer.disconnect().catch((error: unknown) => log.debug({ err: error }, "kafka disconnect failed"));
      // An ended consumer must not hold up the next one.
      await within(disconnected, DISCONNECT_LIMIT_MS);
      const waitMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** state.failures++);
      await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  /** Resolves when the subscription stops; rejects with what ended the consumer. */
  async function consumeUntil(consumer: Consumer): Promise<void> {
    const ended = Promise.withResolvers<void>();
    // It may end before anyone waits for it.
    ended.promise.catch(() => {});
    const stop = (): void => ended.resolve();
    stopping.signal.addEventListener("abort", stop);
    consumer.on(consumer.events.CRASH, ({ payload }) => ended.reject(payload.error));
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      state.failures = 0;
      state.heardMs = performance.now();
      log.info({ groupId: payload.groupId, partitions: payload.memberAssignment }, "kafka partitions assigned");
    });
    consumer.on(consumer.events.HEARTBEAT, () => {
      state.heardMs = performance.now();
    });
    const signalOf = (topic: string): "traces" | "logs" => (topic === config.topics.logs ? "logs" : "traces");
    const eachBatch = createBatchWorker({ deliver: deps.deliver, signalOf, stopping: stopping.signal, giveUp: giveUp.signal });
    try {
      await consumer.connect();
      await consumer.subscribe({ topics: [config.topics.traces, config.topics.logs], fromBeginning: true });
      await consumer.run({
        eachBatch,
        // Offsets are resolved record by record, and committed at most this late; a kill in between delivers again.
        eachBatchAutoResolve: false,
        autoCommitInterval: COMMIT_INTERVAL_MS,
        partitionsConsumedConcurrently: config.partitionsAtOnce,
      });
      await ended.promise;
    } finally {
      stopping.signal.removeEventListener("abort", stop);
    }
  }

  const running = run();
  return {
    isMember: () => !stopping.signal.aborted && performance.now() - state.heardMs < config.sessionTimeoutMs,
    async stop(limitMs) {
      stopping.abort();
      await within(running, limitMs);
      giveUp.abort();
    },
  };
}

function createConsumer(kafka: Kafka, { groupId, sessionTimeoutMs }: KafkaConfig): Consumer {
  return kafka.consumer({
    groupId,
    sessionTimeout: sessionTimeoutMs,
    rebalanceTimeout: 2 * sessionTimeoutMs,
    heartbeatInterval: Math.min(HEARTBEAT_INTERVAL_MS, Math.floor(sessionTimeoutMs / 3)),
    maxWaitTimeInMs: FETCH_WAIT_MS,
    metadataMaxAge: 60_000,
    allowAutoTopicCreation: false,
    // For as long as the group remembers the member: another consumer would be another member, and the group would wait for the one that is gone.
    retry: { ...RETRY, retries: 4 + Math.ceil(sessionTimeoutMs / 1_000), restartOnFailure: () => Promise.resolve(false) },
  });
}

import { CompressionTypes, Partitioners, type Kafka, type Message } from "kafkajs";
import type { KafkaConfig } from "../../config-transport.ts";
import type { Logger } from "../../log.ts";
import type { PublishOptions, PublishResult, TransportRecord } from "../transport.ts";
import { createConnection, within } from "./connection.ts";
import { isTooLarge, kafkaFailure } from "./failure.ts";
import { encodeRecord } from "./record.ts";

/** Sends records and answers for each. */
export interface Publisher {
  publish(record: TransportRecord, options?: PublishOptions): Promise<PublishResult>;
  /** Sends one message as it is, on the same connection. Resolves once every in-sync replica has it. */
  send(topic: string, message: Message): Promise<void>;
  /** Waits for what is on its way, for at most `limitMs`. */
  close(limitMs: number): Promise<void>;
}

const RETRY_AFTER_MS = 1_000;
const COME_BACK = { status: "retryable", retryAfterMs: RETRY_AFTER_MS } as const;
const METADATA_MAX_AGE_MS = 60_000;
const ALL_IN_SYNC_REPLICAS = -1;

const CODEC: Readonly<Record<KafkaConfig["compression"], CompressionTypes>> = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};

interface State {
  /** Bytes of bodies on their way. */
  bytes: number;
  /** By signal, because one topic may be missing or forbidden while the other is fine; on the clock of `performance.now()`. */
  refusingUntilMs: Record<TransportRecord["signal"], number>;
  isClosed: boolean;
}

/** One record per request, several on their way at once. */
export function createPublisher(config: KafkaConfig, deps: { kafka: Kafka; log: Logger }): Publisher {
  const { log } = deps;
  const sender = createSender(config, deps);
  const underWay = new Set<Promise<unknown>>();
  const state: State = { bytes: 0, refusingUntilMs: { traces: 0, logs: 0 }, isClosed: false };

  async function transfer(record: TransportRecord, key: string | null): Promise<PublishResult> {
    // What was compressed once does not get smaller.
    const codec = record.encoding === "identity" ? CODEC[config.compression] : CompressionTypes.None;
    const topic = config.topics[record.signal];
    try {
      await sender.send(topic, encodeRecord(record, key), codec);
      return { status: "stored" };
    } catch (cause) {
      if (isTooLarge(cause)) {
        log.warn({ topic, bytes: record.body.length }, "kafka record larger than its topic allows");
        return { status: "too_large", maxBytes: Math.floor(record.body.length / 2) };
      }
      // Whoever comes within the next moment is answered without a wait: a queue before brokers that are gone helps nobody.
      state.refusingUntilMs[record.signal] = performance.now() + RETRY_AFTER_MS;
      const { code, message, fix } = kafkaFailure(cause, config);
      log.warn({ code, problem: message, fix, topic }, "record not stored");
      return { status: "retryable", retryAfterMs: RETRY_AFTER_MS };
    }
  }

  return {
    async publish(record, options) {
      const refused = options?.signal?.aborted ? COME_BACK : refusalOf(record, state, config);
      if (refused !== null) return refused;
      state.bytes += record.body.length;
      const sending = transfer(record, options?.key ?? null).finally(() => {
        state.bytes -= record.body.length;
        underWay.delete(sending);
      });
      underWay.add(sending);
      // The send itself cannot be called back: it keeps its bytes in the bound until the broker or kafkajs gives up on it.
      return orComeBack(sending, config.publishTimeoutMs, options?.signal);
    },
    send: (topic, message) => sender.send(topic, message, CompressionTypes.None),
    async close(limitMs) {
      state.isClosed = true;
      const deadline = performance.now() + limitMs;
      await within(Promise.allSettled(underWay), limitMs);
      await sender.close(Math.max(1_000, deadline - performance.now()));
    },
  };
}

/** The answer to a record that is not even tried; null for one that is. */
function refusalOf(record: TransportRecord, state: State, config: KafkaConfig): PublishResult | null {
  if (state.isClosed) return COME_BACK;
  if (record.body.length > config.maxRecordBytes) return { status: "too_large", maxBytes: config.maxRecordBytes };
  const waitMs = state.refusingUntilMs[record.signal] - performance.now();
  if (waitMs > 0) return { status: "retryable", retryAfterMs: Math.ceil(waitMs) };
  // A single record always gets through, or a bound below maxRecordBytes would hold it back for ever.
  return state.bytes > 0 && state.bytes + record.body.length > config.maxInFlightBytes ? COME_BACK : null;
}

/**
 * The producer is not idempotent: kafkajs numbers batches per partition, and with concurrent sends the broker meets them out of order and refuses. What a lost
 * answer doubles is one row in the store, by span id.
 */
function createSender(config: KafkaConfig, { kafka, log }: { kafka: Kafka; log: Logger }) {
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    allowAutoTopicCreation: false,
    idempotent: false,
    metadataMaxAge: METADATA_MAX_AGE_MS,
  });
  const connection = createConnection(producer, { name: "producer", log });
  return {
    async send(topic: string, message: Message, compression: CompressionTypes): Promise<void> {
      await connection.ready();
      await producer.send({ topic, messages: [message], acks: ALL_IN_SYNC_REPLICAS, timeout: config.publishTimeoutMs, compression });
    },
    close: (limitMs: number) => connection.close(limitMs),
  };
}

/** `work`, or to come back when it takes longer than `limitMs` or `signal` aborts. */
async function orComeBack<T>(work: Promise<T>, limitMs: number, signal: AbortSignal | undefined): Promise<T | PublishResult> {
  const over = Promise.withResolvers<PublishResult>();
  const giveUp = (): void => over.resolve(COME_BACK);
  const timer = setTimeout(giveUp, limitMs);
  signal?.addEventListener("abort", giveUp, { once: true });
  try {
    return await Promise.race([work, over.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

import kafkajs, { type Admin } from "kafkajs";
import type { KafkaConfig } from "../../config-transport.ts";
import type { Logger } from "../../log.ts";
import { createKafkaClient } from "./client.ts";
import { within } from "./connection.ts";
import { kafkaFailure } from "./failure.ts";

/** How a topic is set up, as far as it decides what can get lost. */
export interface TopicFacts {
  topic: string;
  partitions: number;
  /** Of the partition that has fewest. */
  replicas: number;
  minInSync: number;
  maxMessageBytes: number;
  /** -1: for ever. */
  retentionMs: number;
}

export interface KafkaFacts {
  brokers: number;
  topics: TopicFacts[];
  /** Configured topics that do not exist. */
  missing: string[];
}

const ANSWER_LIMIT_MS = 5_000;
const CLOSE_LIMIT_MS = 1_000;

/** Asks the brokers about the configured topics. @throws NightshiftError `kafka_unavailable`, `kafka_refused`, `kafka_file_unreadable` */
export async function examineKafka(config: KafkaConfig, deps: { log: Logger }): Promise<KafkaFacts> {
  const admin = createKafkaClient(config, { log: deps.log, requestTimeoutMs: ANSWER_LIMIT_MS }).admin();
  try {
    await admin.connect();
    const { brokers } = await admin.describeCluster();
    const existing = new Set(await admin.listTopics());
    const wanted = Object.values(config.topics);
    const topics = await topicFacts(
      admin,
      wanted.filter((topic) => existing.has(topic)),
    );
    return { brokers: brokers.length, topics, missing: wanted.filter((topic) => !existing.has(topic)) };
  } catch (cause) {
    throw kafkaFailure(cause, config);
  } finally {
    await within(admin.disconnect(), CLOSE_LIMIT_MS);
  }
}

async function topicFacts(admin: Admin, names: string[]): Promise<TopicFacts[]> {
  // An empty list would ask for all topics of the cluster.
  if (names.length === 0) return [];
  const { topics } = await admin.fetchTopicMetadata({ topics: names });
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: names.map((name) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name })),
  });
  // In the order that was asked for, not in the brokers'.
  return names.map((name) => {
    const partitions = topics.find((topic) => topic.name === name)?.partitions ?? [];
    const entries = resources.find(({ resourceName }) => resourceName === name)?.configEntries ?? [];
    const number = (key: string): number => Number(entries.find(({ configName }) => configName === key)?.configValue);
    return {
      topic: name,
      partitions: partitions.length,
      replicas: Math.min(...partitions.map(({ replicas }) => replicas.length)),
      minInSync: number("min.insync.replicas"),
      maxMessageBytes: number("max.message.bytes"),
      retentionMs: number("retention.ms"),
    };
  });
}

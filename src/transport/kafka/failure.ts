import type { KafkaConfig } from "../../config-transport.ts";
import { nightshiftError, type NightshiftError } from "../../errors.ts";

/** Broker error codes, by the names of the Kafka protocol. */
const CODE = {
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  MESSAGE_TOO_LARGE: 10,
  RECORD_LIST_TOO_LARGE: 18,
  TOPIC_AUTHORIZATION_FAILED: 29,
  GROUP_AUTHORIZATION_FAILED: 30,
  CLUSTER_AUTHORIZATION_FAILED: 31,
} as const;

/** Whether the broker will never take this record as it is. */
export function isTooLarge(error: unknown): boolean {
  const code = codeOf(error);
  return code === CODE.MESSAGE_TOO_LARGE || code === CODE.RECORD_LIST_TOO_LARGE;
}

/** What failed, in our words: the operator's next step differs by kind, what the code does next does not. */
export function kafkaFailure(cause: unknown, config: Pick<KafkaConfig, "brokers" | "topics">): NightshiftError {
  const brokers = config.brokers.join(",");
  const problem = cause instanceof Error ? cause.message.slice(0, 300) : "unknown";
  switch (codeOf(cause)) {
    case CODE.UNKNOWN_TOPIC_OR_PARTITION:
      return nightshiftError("kafka_topic_missing", { brokers, topics: Object.values(config.topics).join(", ") }, { cause });
    case CODE.TOPIC_AUTHORIZATION_FAILED:
    case CODE.GROUP_AUTHORIZATION_FAILED:
    case CODE.CLUSTER_AUTHORIZATION_FAILED:
      return nightshiftError("kafka_refused", { brokers, problem }, { cause });
    default:
      return nightshiftError(isLogin(cause) ? "kafka_refused" : "kafka_unavailable", { brokers, problem }, { cause });
  }
}

/** The broker's error code, which kafkajs may have wrapped several times. */
function codeOf(error: unknown): unknown {
  for (let at = error; at instanceof Error; at = at.cause) if ("code" in at && typeof at.code === "number") return at.code;
  return undefined;
}

function isLogin(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (at.name === "KafkaJSSASLAuthenticationError") return true;
  return false;
}

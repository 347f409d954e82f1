import { logLevel, type logCreator } from "kafkajs";
import type { Logger } from "../../log.ts";

/** Fields of kafkajs' log entries that are worth keeping; the others are stacks, payloads and repetitions. */
const FIELDS = ["broker", "clientId", "groupId", "memberId", "topic", "partition", "offset", "retryCount", "retryTime", "error"] as const;

/**
 * kafkajs' log through ours. It writes every failed attempt as an error, also those that its next attempt mends, and what stays broken comes to us as a result:
 * so nothing of its own is more than a warning, and its chatter is for those who debug.
 */
export function createKafkaLog(log: Logger): { logLevel: logLevel; logCreator: logCreator } {
  return {
    logLevel: log.isLevelEnabled("trace") ? logLevel.DEBUG : logLevel.INFO,
    logCreator:
      () =>
      ({ level, namespace, log: entry }) => {
        const fields: Record<string, unknown> = { part: namespace, event: entry.message };
        for (const name of FIELDS) if (isPlain(entry[name])) fields[name] = entry[name];
        if (level <= logLevel.WARN) log.warn(fields, "kafka client warning");
        else if (level === logLevel.INFO) log.debug(fields, "kafka client event");
        else log.trace(fields, "kafka client detail");
      },
  };
}

function isPlain(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number";
}

import { logLevel, type logCreator } from "kafkajs";
import type { Logger } from "../../log.ts";

/** Fields of kafkajs' log entries that are worth keeping; the others are stacks, payloads and repetitions. */
const FIELDS = ["broker", "clientId", "groupId", "memberId", "topic", "partition", "offset", "retryCount", "retryTime", "error"] as const;
/** An outage repeats the same few lines several times a second. */
const REPEAT_EVERY_MS = 30_000;
const MOST_EVENTS = 100;

/**
 * kafkajs' log through ours. It writes every failed attempt as an error, also those that its next attempt mends, and what stays broken comes to us as a result:
 * so nothing of its own is more than a warning, the same warning comes twice a minute at most, and its chatter is for those who debug.
 */
export function createKafkaLog(log: Logger): { logLevel: logLevel; logCreator: logCreator } {
  const isNew = createRepeatFilter();
  return {
    logLevel: log.isLevelEnabled("trace") ? logLevel.DEBUG : logLevel.INFO,
    logCreator:
      () =>
      ({ level, namespace, log: entry }) => {
        const fields: Record<string, unknown> = { part: namespace, event: entry.message };
        for (const name of FIELDS) if (isPlain(entry[name])) fields[name] = entry[name];
        if (level === logLevel.DEBUG) log.trace(fields, "kafka client detail");
        else if (level === logLevel.INFO || !isNew(`${namespace} ${entry.message}`)) log.debug(fields, "kafka client event");
        else log.warn(fields, "kafka client warning");
      },
  };
}

function createRepeatFilter(): (event: string) => boolean {
  const lastMs = new Map<string, number>();
  return (event) => {
    const nowMs = performance.now();
    if (nowMs - (lastMs.get(event) ?? -Infinity) < REPEAT_EVERY_MS) return false;
    if (lastMs.size >= MOST_EVENTS) lastMs.clear();
    lastMs.set(event, nowMs);
    return true;
  };
}

function isPlain(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number";
}

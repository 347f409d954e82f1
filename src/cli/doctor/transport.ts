import type { Config } from "../../config.ts";
import { NightshiftError } from "../../errors.ts";
import { silentLog } from "../../log.ts";
import { examineKafka, type TopicFacts } from "../../transport/kafka/examine.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

/** What a record needs beside the request: batch header, keys and headers. */
const RECORD_OVERHEAD_BYTES = 4_096;
/** A weekend with nobody on call. */
const COMFORTABLE_RETENTION_MS = 3 * 24 * 3_600_000;

/** The brokers and topics of a configured Kafka; nothing for the inline transport. */
export async function checkTransport({ transport }: Pick<Config, "transport">): Promise<Finding[]> {
  if (transport.driver === "inline") return [];
  try {
    const { brokers, topics, missing } = await examineKafka(transport, { log: silentLog() });
    const fix = "Create it, or correct transport.topics; nothing is created by itself.";
    return [
      ok("kafka", `${transport.brokers.join(", ")}: ${brokers} brokers`),
      ...missing.map((topic) => bad(`kafka topic ${topic}`, "does not exist", fix)),
      ...topics.flatMap((topic) => checkTopic(topic, transport.maxRecordBytes)),
    ];
  } catch (error) {
    if (!(error instanceof NightshiftError)) throw error;
    return [bad("kafka", error.message, error.fix)];
  }
}

function checkTopic(
  { topic, partitions, replicas, minInSync, maxMessageBytes, retentionMs }: TopicFacts,
  maxRecordBytes: number,
): Finding[] {
  const check = `kafka topic ${topic}`;
  const findings: Finding[] = [];
  if (replicas < 2 || minInSync < 2) {
    const told = `${replicas} replicas, min.insync.replicas ${minInSync}: one broker's disk holds the only copy of what was acknowledged`;
    findings.push(warn(check, told, "Use 3 replicas and min.insync.replicas 2."));
  } else if (minInSync >= replicas) {
    findings.push(
      warn(check, `min.insync.replicas ${minInSync} of ${replicas}: one broker down stops writing`, "Use one more replica than that."),
    );
  }
  if (maxMessageBytes < maxRecordBytes + RECORD_OVERHEAD_BYTES) {
    const told = `max.message.bytes ${maxMessageBytes} is less than transport.maxRecordBytes ${maxRecordBytes} with its headers`;
    findings.push(warn(check, told, "Raise the topic's or lower ours: requests in between are sent twice, whole and then in parts."));
  }
  if (retentionMs >= 0 && retentionMs < COMFORTABLE_RETENTION_MS) {
    const told = `retention.ms ${retentionMs}: ingest that stands still for longer loses records`;
    findings.push(warn(check, told, "Keep records for at least three days."));
  }
  const retention = retentionMs < 0 ? "for ever" : `for ${Math.round(retentionMs / 3_600_000)} h`;
  return findings.length > 0 ? findings : [ok(check, `${partitions} partitions, ${replicas} replicas, kept ${retention}`)];
}

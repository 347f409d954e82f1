import type { Admin } from "kafkajs";
import type { KafkaConfig } from "../../config-transport.ts";
import { createGauge } from "../../telemetry/instruments.ts";
import { METRIC } from "../../telemetry/metrics.ts";

/** Measures how far the consumer group is behind. */
export interface LagMeter {
  /** Asks the brokers once; rejects when they do not answer. */
  measure(): Promise<{ traces: number; logs: number }>;
}

/**
 * From the brokers' offsets, not from what a consumer fetched last: a partition that nobody reads, or whose record is retried for hours, is fetched by none.
 */
export function createLagMeter(
  config: Pick<KafkaConfig, "groupId" | "topics">,
  deps: { admin: Pick<Admin, "fetchTopicOffsets" | "fetchOffsets"> },
): LagMeter {
  const gauge = createGauge(METRIC.transportLag);
  async function lagOf(topic: string): Promise<number> {
    const ends = await deps.admin.fetchTopicOffsets(topic);
    const groups = await deps.admin.fetchOffsets({ groupId: config.groupId, topics: [topic] });
    const committed = new Map(groups.flatMap(({ partitions }) => partitions.map(({ partition, offset }) => [partition, BigInt(offset)])));
    const behind = ends.reduce((sum, { partition, low, high }) => {
      const at = committed.get(partition) ?? -1n;
      // Nothing committed yet (-1), or retention has overtaken the group: what still lies there is what is left to do.
      const from = at < BigInt(low) ? BigInt(low) : at;
      return sum + BigInt(high) - from;
    }, 0n);
    return Number(behind);
  }
  return {
    async measure() {
      const lag = { traces: await lagOf(config.topics.traces), logs: await lagOf(config.topics.logs) };
      gauge.record(lag.traces, { "nightshift.signal": "traces" });
      gauge.record(lag.logs, { "nightshift.signal": "logs" });
      return lag;
    },
  };
}

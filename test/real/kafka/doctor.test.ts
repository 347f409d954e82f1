import { afterAll, beforeAll, expect, test } from "vitest";
import { checkTransport } from "../../../src/cli/doctor/transport.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { kafkaConfig } from "./world.ts";

let server: KafkaServer;
beforeAll(async () => {
  server = await startKafka();
});
afterAll(() => server.close());

test("topics that are missing, too small, too short-lived or on one disk only are told apart", async () => {
  const transport = kafkaConfig(server.brokers);
  await server.createTopic(transport.topics.traces, {
    partitions: 2,
    config: { "max.message.bytes": "500000", "retention.ms": "3600000" },
  });
  await server.createTopic(transport.topics.logs, { config: { "retention.ms": "-1" } });
  const findings = await checkTransport({ transport });
  const told = findings.map(({ check, status, message }) => `${status} ${check.replace(/-[0-9a-f]{8}$/, "")}: ${message}`);
  const oneDisk = "1 replicas, min.insync.replicas 1: one broker's disk holds the only copy of what was acknowledged";
  expect(told).toEqual([
    `ok kafka: ${server.brokers[0]}: 1 brokers`,
    "bad kafka topic dead: does not exist",
    `warn kafka topic spans: ${oneDisk}`,
    "warn kafka topic spans: max.message.bytes 500000 is less than transport.maxRecordBytes 1000000 with its headers",
    "warn kafka topic spans: retention.ms 3600000: ingest that stands still for longer loses records",
    `warn kafka topic logs: ${oneDisk}`,
  ]);
});

test("brokers that do not answer are one bad finding with a fix; the inline transport is none", async () => {
  const [finding, ...rest] = await checkTransport({ transport: kafkaConfig(["127.0.0.1:1"]) });
  expect(rest).toEqual([]);
  expect(finding).toMatchObject({ check: "kafka", status: "bad", message: expect.stringContaining("Kafka at 127.0.0.1:1 did not answer") });
  expect(await checkTransport({ transport: { driver: "inline" } })).toEqual([]);
});

import { z } from "zod";

const kafkaTopics = z
  .strictObject({
    traces: z
      .string()
      .min(1)
      .default("otlp_spans")
      .describe("Topic of trace requests; the name that a stock OpenTelemetry Collector uses."),
    logs: z.string().min(1).default("otlp_logs").describe("Topic of log requests; the name that a stock OpenTelemetry Collector uses."),
    deadLetter: z
      .string()
      .min(1)
      .default("nightshift_dead_letter")
      .describe("Topic of records that ingest refuses for good, with the reason in their headers."),
  })
  .prefault({});

const kafkaTls = z
  .strictObject({
    caFile: z.string().optional().describe("PEM file with the brokers' certificate authority. Unset: the system's."),
    certFile: z.string().optional().describe("PEM file with this client's certificate."),
    keyFile: z.string().optional().describe("PEM file with this client's private key."),
  })
  .optional()
  .describe("TLS to the brokers; `{}` for TLS with the system's authorities. Unset: plain text.");

const kafkaSasl = z
  .strictObject({
    mechanism: z.enum(["plain", "scram-sha-256", "scram-sha-512"]).describe("SASL mechanism."),
    username: z.string().describe("SASL user."),
    passwordFile: z.string().describe("File with that user's password."),
  })
  .optional()
  .describe("Login at the brokers. Unset: none.");

const kafkaTransport = z.strictObject({
  driver: z.literal("kafka"),
  brokers: z
    .array(z.string().regex(/^.+:\d{1,5}$/, "a broker is host:port"))
    .min(1)
    .describe("Kafka brokers to start from, as host:port."),
  clientId: z.string().default("nightshift").describe("Name of this client in the brokers' logs and quotas."),
  groupId: z.string().default("nightshift-ingest").describe("Consumer group of all ingest processes."),
  topics: kafkaTopics,
  tenant: z.string().default("default").describe("Tenant of records that carry no tenant: what a stock OpenTelemetry Collector wrote."),
  compression: z
    .enum(["none", "gzip", "snappy", "lz4", "zstd"])
    .default("zstd")
    .describe("Codec for bodies that came uncompressed; others travel as they came. Every codec is read."),
  maxRecordBytes: z
    .int()
    .positive()
    .default(1_000_000)
    .describe(
      "Largest request in one record, before the codec: at most the topics' max.message.bytes. Larger ones are split between spans; a larger span goes through the artifact store.",
    ),
  maxInFlightBytes: z
    .int()
    .positive()
    .default(64 * 1024 * 1024)
    .describe("Bytes on their way to the brokers at once; above it senders are told to come back."),
  publishTimeoutMs: z
    .int()
    .min(100)
    .default(8_000)
    .describe("Longest wait for the brokers' acknowledgement; shorter than the SDKs' 10 seconds, so that they hear why."),
  partitionsAtOnce: z.int().positive().default(4).describe("Partitions that one ingest process works on at once; each in its order."),
  sessionTimeoutMs: z.int().min(6_000).default(30_000).describe("A silent ingest process loses its partitions after this long."),
  tls: kafkaTls,
  sasl: kafkaSasl,
});

export const transportSchema = z
  .discriminatedUnion("driver", [z.strictObject({ driver: z.literal("inline") }), kafkaTransport])
  .prefault({ driver: "inline" })
  .describe("What carries accepted telemetry from the collector to ingest.");

export type KafkaConfig = z.infer<typeof kafkaTransport>;

import { readFileSync } from "node:fs";
import { Kafka, type KafkaConfig as KafkajsConfig, type RetryOptions, type SASLOptions } from "kafkajs";
import type { KafkaConfig } from "../../config-transport.ts";
import { nightshiftError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { mendConnection } from "./broken-connection.ts";
import { mendChecksum } from "./checksum.ts";
import { registerCodecs } from "./codecs.ts";
import { mendEncoder } from "./encoder.ts";
import { createKafkaLog } from "./log.ts";
import { mendMembership } from "./membership.ts";
import { mendProduceCopies } from "./produce-copies.ts";
import { mendRequestQueue } from "./request-queue.ts";

/** How to reach the brokers. */
export type KafkaAccess = Pick<KafkaConfig, "brokers" | "clientId" | "tls" | "sasl">;

/** Enough for a partition to find its new leader. What needs longer is answered, not waited for. */
export const RETRY: RetryOptions = { retries: 4, initialRetryTime: 100, maxRetryTime: 1_000, multiplier: 2, factor: 0.2 };

const CONNECTION_TIMEOUT_MS = 3_000;

/**
 * kafkajs, with what it needs to run in a service. Connects to nothing yet.
 * @param requestTimeoutMs longest wait for a broker's answer; a request that waits at the broker by design gets longer
 * @throws NightshiftError `kafka_file_unreadable` for a password or certificate file
 */
export function createKafkaClient(access: KafkaAccess, deps: { log: Logger; requestTimeoutMs: number }): Kafka {
  registerCodecs();
  mendChecksum();
  mendEncoder();
  mendProduceCopies();
  mendRequestQueue();
  mendConnection();
  mendMembership();
  const options: KafkajsConfig = {
    brokers: access.brokers,
    clientId: access.clientId,
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    requestTimeout: deps.requestTimeoutMs,
    retry: RETRY,
    ...createKafkaLog(deps.log),
  };
  if (access.tls !== undefined) options.ssl = tlsOf(access.tls);
  if (access.sasl !== undefined) options.sasl = saslOf(access.sasl);
  return new Kafka(options);
}

function tlsOf({ caFile, certFile, keyFile }: NonNullable<KafkaAccess["tls"]>): NonNullable<KafkajsConfig["ssl"]> {
  return {
    ...(caFile === undefined ? {} : { ca: [readText(caFile)] }),
    ...(certFile === undefined ? {} : { cert: readText(certFile) }),
    ...(keyFile === undefined ? {} : { key: readText(keyFile) }),
  };
}

function saslOf({ mechanism, username, passwordFile }: NonNullable<KafkaAccess["sasl"]>): SASLOptions {
  const password = readText(passwordFile).trim();
  // One literal per member of kafkajs' union.
  if (mechanism === "plain") return { mechanism, username, password };
  if (mechanism === "scram-sha-256") return { mechanism, username, password };
  return { mechanism, username, password };
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw nightshiftError("kafka_file_unreadable", { file, problem: cause instanceof Error ? cause.message : String(cause) }, { cause });
  }
}

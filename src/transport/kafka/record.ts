import type { IHeaders, Message } from "kafkajs";
import { isDigest } from "../../artifact/digest.ts";
import { nightshiftError } from "../../errors.ts";
import type { TransportRecord } from "../transport.ts";

/** What a record's headers carry beside the body; none of them is on what a stock OpenTelemetry Collector wrote. */
export const RECORD_HEADER = {
  tenant: "nightshift-tenant",
  redacted: "nightshift-redacted",
  redactionKeyId: "nightshift-redaction-key",
  encoding: "nightshift-encoding",
  receivedAtMs: "nightshift-received-at-ms",
  claim: "nightshift-claim",
  /** Not written by anybody: on the empty records that stand in for a batch that inflates too far. */
  notInflated: "nightshift-not-inflated",
} as const;

/** A record as Kafka hands it over. */
export interface ReceivedMessage {
  value: Buffer | null;
  /** Milliseconds since the epoch, as decimal digits. */
  timestamp: string;
  headers?: IHeaders | undefined;
}

/** The Kafka record of one request. Records with one key share a partition. */
export function encodeRecord(record: TransportRecord, key: string | null): Message {
  const { buffer, byteOffset, byteLength } = record.body;
  return {
    key,
    value: Buffer.from(buffer, byteOffset, byteLength),
    headers: {
      [RECORD_HEADER.tenant]: record.tenant,
      [RECORD_HEADER.redacted]: String(record.redacted),
      [RECORD_HEADER.encoding]: record.encoding,
      [RECORD_HEADER.receivedAtMs]: String(record.receivedAtMs),
      ...(record.redactionKeyId === undefined ? {} : { [RECORD_HEADER.redactionKeyId]: record.redactionKeyId }),
      ...(record.claim === undefined ? {} : { [RECORD_HEADER.claim]: record.claim }),
    },
  };
}

/**
 * The request in a Kafka record. Without our headers it is what a stock Collector writes: uncompressed, not redacted, of the tenant that the config names,
 * received when Kafka says.
 * @throws NightshiftError `kafka_record_invalid` for a record that no retry makes readable
 */
export function decodeRecord(message: ReceivedMessage, about: { signal: TransportRecord["signal"]; tenant: string }): TransportRecord {
  const header = (name: string): string | undefined => textOf(message.headers?.[name]);
  if (header(RECORD_HEADER.notInflated) !== undefined) throw invalid("its batch inflates too far, the body was left where it is");
  if (message.value === null) throw invalid("it has no value");
  const encoding = header(RECORD_HEADER.encoding) ?? "identity";
  if (encoding !== "identity" && encoding !== "gzip" && encoding !== "zstd") {
    throw invalid(`header ${RECORD_HEADER.encoding} is ${JSON.stringify(encoding.slice(0, 40))}`);
  }
  const receivedAtMs = Number(header(RECORD_HEADER.receivedAtMs) ?? message.timestamp);
  if (!Number.isSafeInteger(receivedAtMs) || receivedAtMs < 0) throw invalid(`header ${RECORD_HEADER.receivedAtMs} is no time`);
  const claim = header(RECORD_HEADER.claim);
  const redactionKeyId = header(RECORD_HEADER.redactionKeyId);
  if (claim !== undefined && !isDigest(claim)) throw invalid(`header ${RECORD_HEADER.claim} is no digest`);
  return {
    tenant: header(RECORD_HEADER.tenant) ?? about.tenant,
    signal: about.signal,
    body: new Uint8Array(message.value.buffer, message.value.byteOffset, message.value.byteLength),
    encoding,
    // Only our own edge may say that nothing is left to take out.
    redacted: header(RECORD_HEADER.redacted) === "true",
    receivedAtMs,
    ...(redactionKeyId === undefined ? {} : { redactionKeyId }),
    ...(claim === undefined ? {} : { claim }),
  };
}

function textOf(value: IHeaders[string]): string | undefined {
  const first = Array.isArray(value) ? value[0] : value;
  return first === undefined ? undefined : first.toString();
}

function invalid(problem: string): Error {
  return nightshiftError("kafka_record_invalid", { problem });
}

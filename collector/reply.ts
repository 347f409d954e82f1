import { PbfWriter } from "pbf";
import type { Signal } from "../src/trace/wire.ts";

/** An answer that ends the request before anything is stored, in terms of HTTP; gRPC translates it. */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** When to come back, for what may pass; null when a repetition is pointless. */
  readonly retryAfterMs: number | null;

  constructor(status: number, message: string, options: { headers?: Readonly<Record<string, string>>; retryAfterMs?: number } = {}) {
    super(message);
    this.name = "Refusal";
    this.status = status;
    this.headers = options.headers ?? {};
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/** Retryable for every OTLP exporter; 500 would make it drop the batch. */
export function unavailable(message: string, retryAfterMs: number): Refusal {
  return new Refusal(503, message, { retryAfterMs });
}

/** google.rpc.Code by HTTP status, as OTLP/HTTP's Status has it. */
const RPC_CODE: Readonly<Record<number, number>> = { 400: 3, 401: 16, 404: 5, 405: 12, 413: 8, 415: 3, 500: 13, 503: 14 };
const UNKNOWN = 2;

export function rpcCodeOf(status: number): number {
  return RPC_CODE[status] ?? UNKNOWN;
}

const RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo";

/**
 * google.rpc.Status {code=1, message=2, details=3}. What may pass carries a RetryInfo {retry_delay=1 Duration {seconds=1, nanos=2}}; by its absence
 * RESOURCE_EXHAUSTED means that a repetition is pointless.
 */
export function encodeStatus(code: number, { message, retryAfterMs }: Pick<Refusal, "message" | "retryAfterMs">): Uint8Array {
  const writer = new PbfWriter();
  writer.writeVarintField(1, code);
  writer.writeStringField(2, message);
  if (retryAfterMs === null) return writer.finish();
  const duration = new PbfWriter();
  duration.writeVarintField(1, Math.floor(retryAfterMs / 1_000));
  duration.writeVarintField(2, Math.round(retryAfterMs % 1_000) * 1_000_000);
  const retryInfo = new PbfWriter();
  retryInfo.writeBytesField(1, duration.finish());
  const any = new PbfWriter();
  any.writeStringField(1, RETRY_INFO);
  any.writeBytesField(2, retryInfo.finish());
  writer.writeBytesField(3, any.finish());
  return writer.finish();
}

/** An Export…ServiceResponse; with rejected records its partial_success {rejected=1, error_message=2} says how many and why. */
export function encodeAccepted(rejected: number, problem: string): Uint8Array {
  const writer = new PbfWriter();
  if (rejected > 0) {
    const partial = new PbfWriter();
    partial.writeVarintField(1, rejected);
    partial.writeStringField(2, problem);
    writer.writeBytesField(1, partial.finish());
  }
  return writer.finish();
}

/** As `encodeAccepted`, in protobuf's JSON form. */
export function encodeAcceptedJson(signal: Signal | "metrics", rejected: number, problem: string): string {
  const count = signal === "traces" ? "rejectedSpans" : "rejectedLogRecords";
  return JSON.stringify(rejected === 0 ? {} : { partialSuccess: { [count]: String(rejected), errorMessage: problem } });
}

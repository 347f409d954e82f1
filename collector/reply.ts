import type { ServerResponse } from "node:http";
import { PbfWriter } from "pbf";
import type { Signal } from "../src/trace/wire.ts";

/** The two encodings of OTLP/HTTP; an answer uses the request's. */
export type Format = "protobuf" | "json";

/** An answer that ends the request before anything is stored. */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = "Refusal";
    this.status = status;
    this.headers = headers;
  }
}

/** Retryable for every OTLP exporter; 500 would make it drop the batch. */
export function unavailable(message: string, retryAfterMs: number): Refusal {
  return new Refusal(503, message, { "retry-after": String(Math.max(1, Math.ceil(retryAfterMs / 1_000))) });
}

// google.rpc.Code by HTTP status; everything else is UNKNOWN.
const RPC_CODE: Readonly<Record<number, number>> = { 400: 3, 401: 16, 404: 5, 405: 12, 413: 8, 415: 3, 500: 13, 503: 14 };

/** Sends a google.rpc.Status {code=1, message=2}. */
export function sendRefusal(response: ServerResponse, format: Format, refusal: Refusal): void {
  const code = RPC_CODE[refusal.status] ?? 2;
  if (format === "json") send(response, refusal.status, format, JSON.stringify({ code, message: refusal.message }), refusal.headers);
  else {
    const writer = new PbfWriter();
    writer.writeVarintField(1, code);
    writer.writeStringField(2, refusal.message);
    send(response, refusal.status, format, writer.finish(), refusal.headers);
  }
}

/** Sends an Export…ServiceResponse; with rejected records its partial_success {rejected=1, error_message=2} says how many and why. */
export function sendAccepted(
  response: ServerResponse,
  format: Format,
  signal: Signal | "metrics",
  rejected: number,
  problem: string,
): void {
  if (format === "json") {
    const count = signal === "traces" ? "rejectedSpans" : "rejectedLogRecords";
    const body = rejected === 0 ? {} : { partialSuccess: { [count]: String(rejected), errorMessage: problem } };
    send(response, 200, format, JSON.stringify(body));
    return;
  }
  const writer = new PbfWriter();
  if (rejected > 0) {
    writer.writeMessage(
      1,
      (partial: { rejected: number; problem: string }, pbf) => {
        pbf.writeVarintField(1, partial.rejected);
        pbf.writeStringField(2, partial.problem);
      },
      { rejected, problem },
    );
  }
  send(response, 200, format, writer.finish());
}

function send(
  response: ServerResponse,
  status: number,
  format: Format,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): void {
  const contentType = format === "json" ? "application/json" : "application/x-protobuf";
  response.writeHead(status, { "content-type": contentType, "content-length": Buffer.byteLength(body), ...headers });
  response.end(body);
}

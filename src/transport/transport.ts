/** What the collector hands over and ingest takes: one OTLP export request, as bytes. */
export interface TransportRecord {
  tenant: string;
  signal: "traces" | "logs";
  /** `ExportTraceServiceRequest` or `ExportLogsServiceRequest`, protobuf, compressed as `encoding` says. */
  body: Uint8Array;
  encoding: "identity" | "gzip" | "zstd";
  /** True when the edge has redacted this body (or redaction is switched off there on purpose). */
  redacted: boolean;
  receivedAtMs: number;
}

export type PublishResult = { status: "stored" } | { status: "retryable"; retryAfterMs: number };

/** Called once per record, again after a failure: must be idempotent. It resolves when the record's effect is durable. */
export type RecordHandler = (record: TransportRecord, options: { signal: AbortSignal }) => Promise<void>;

/**
 * Carries accepted telemetry from the collector to ingest, at least once.
 * `publish` resolves `stored` only when the record survives a kill -9 of this process.
 */
export interface Transport {
  publish(record: TransportRecord, options?: { signal?: AbortSignal }): Promise<PublishResult>;
  /** Starts delivery to `handler`; one subscription per process. The returned function stops it after the deliveries under way. */
  subscribe(handler: RecordHandler): Promise<() => Promise<void>>;
  /** Waits for what is under way, then frees connections. Later calls of `publish` answer `retryable`. */
  close(): Promise<void>;
}

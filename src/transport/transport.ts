import type { Digest } from "../artifact/artifact-store.ts";

/** What the collector hands over and ingest takes: one OTLP export request, as bytes. */
export interface TransportRecord {
  tenant: string;
  signal: "traces" | "logs";
  /** `ExportTraceServiceRequest` or `ExportLogsServiceRequest`, protobuf, compressed as `encoding` says. */
  body: Uint8Array;
  encoding: "identity" | "gzip" | "zstd";
  /** True when the edge has redacted this body (or redaction is switched off there on purpose). */
  redacted: boolean;
  /** Names the key that the edge redacted with; absent where it did not. */
  redactionKeyId?: string;
  receivedAtMs: number;
  /** Where the body did not fit into a record: its digest in the artifact store, and `body` is empty. */
  claim?: Digest;
}

export type PublishResult =
  | { status: "stored" }
  | { status: "retryable"; retryAfterMs: number }
  /** No retry will help; parts of at most `maxBytes` of body may. */
  | { status: "too_large"; maxBytes: number };

export interface PublishOptions {
  signal?: AbortSignal;
  /** Records with one key keep their order among themselves where a transport has several lanes. */
  key?: string | null;
}

/**
 * Called once per record, again after a failure: must be idempotent. It resolves when the record's effect is durable, and keeps nothing of its body then: whoever published it may give that memory
 * back.
 */
export type RecordHandler = (record: TransportRecord, options: { signal: AbortSignal }) => Promise<void>;

/**
 * Carries accepted telemetry from the collector to ingest, at least once.
 * `publish` resolves `stored` only when the record survives a kill -9 of this process.
 */
export interface Transport {
  /**
   * Rejects only with a NightshiftError that is not retryable, when the handler refused the record for good before `publish` returned. A transport that
   * delivers later puts such records aside.
   */
  publish(record: TransportRecord, options?: PublishOptions): Promise<PublishResult>;
  /**
   * Starts delivery to `handler`, also when what carries the records cannot be reached yet; one subscription per process. The returned function stops it after
   * the deliveries under way.
   */
  subscribe(handler: RecordHandler): Promise<() => Promise<void>>;
  /** Whether the subscription gets what is published. False while what carries the records cannot be reached, or has nothing to do with this process. */
  isReading(): boolean;
  /** Waits for what is under way, then frees connections. Later calls of `publish` answer `retryable`. */
  close(): Promise<void>;
}

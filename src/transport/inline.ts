import { NightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { PublishResult, RecordHandler, Transport, TransportRecord } from "./transport.ts";

const RETRY_AFTER_MS = 1_000;

/**
 * The transport inside one process: `publish` calls the handler and answers `stored` when the handler has committed.
 * Without a subscriber, after `close`, and when the handler fails in a way that may pass, the answer is `retryable` and the sender keeps the record.
 * A record that the handler refuses for good (a NightshiftError that is not retryable) makes `publish` reject with that error.
 */
export function createInlineTransport(deps: { log: Logger }): Transport {
  const underWay = new Set<Promise<unknown>>();
  let subscription: RecordHandler | null = null;
  let closed = false;

  async function deliver(record: TransportRecord, signal: AbortSignal | undefined): Promise<PublishResult> {
    if (closed || subscription === null || signal?.aborted) return { status: "retryable", retryAfterMs: RETRY_AFTER_MS };
    try {
      await subscription(record, { signal: signal ?? new AbortController().signal });
      return { status: "stored" };
    } catch (cause) {
      if (cause instanceof NightshiftError && !cause.retryable) throw cause;
      // What is not known to be final is taken for passing: an exporter that gets a final answer drops its spans for good.
      deps.log.warn({ err: cause, tenant: record.tenant, signal: record.signal }, "record not stored");
      return { status: "retryable", retryAfterMs: RETRY_AFTER_MS };
    }
  }

  async function settle(): Promise<void> {
    await Promise.allSettled(underWay);
  }

  return {
    async publish(record, options) {
      const delivery = deliver(record, options?.signal);
      underWay.add(delivery);
      try {
        return await delivery;
      } finally {
        underWay.delete(delivery);
      }
    },
    // oxlint-disable-next-line typescript/require-await -- the seam is asynchronous for drivers that connect
    async subscribe(handler) {
      subscription = handler;
      return async () => {
        if (subscription === handler) subscription = null;
        await settle();
      };
    },
    isReading: () => !closed && subscription !== null,
    async close() {
      closed = true;
      await settle();
    },
  };
}

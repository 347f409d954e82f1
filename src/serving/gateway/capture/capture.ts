import type { Logger } from "../../../log.ts";
import { createCounter } from "../../../telemetry/instruments.ts";
import { METRIC } from "../../../telemetry/metrics.ts";
import { bytesOf, type Seen } from "./seen.ts";

/** Where the gateway says what it saw. Bounded in number and bytes: what does not fit is dropped and counted. */
export interface Capture {
  see(seen: Seen): void;
  /** More was seen than there was time to export, though exporting works. A gateway that has only one core then does well to leave it some. */
  isBehind(): boolean;
  /** Exports what is waiting. Never rejects. */
  close(): Promise<void>;
}

/** Makes what it is sent into spans and exports them, here or in another thread. Never throws. */
export interface CaptureLine {
  send(seen: Seen): void;
  /** Exports what is waiting. */
  close(): Promise<void>;
}

/** What became of some of what a line was sent. */
export interface Settled {
  count: number;
  bytes: number;
  /** Why it never reached the collector; null when it did. */
  problem: string | null;
}

const MAX_PENDING = 2_048;
const MAX_PENDING_BYTES = 128 * 1024 * 1024;
const BEHIND = 512;
/** Where nothing was exported for so long it is not for want of time. Also how long a collector that has just gone down may still delay calls. */
const WORKS_MS = 5_000;

/** @param open starts the line, which says of everything that it is sent what became of it, once */
export function createCapture(open: (settled: (outcome: Settled) => void) => CaptureLine, log: Logger): Capture {
  const lost = createCounter(METRIC.gatewayCaptureLost);
  const pending = { count: 0, bytes: 0 };
  let dropped = 0;
  let exportedMs = -Infinity;
  const line = open(({ count, bytes, problem }) => {
    pending.count -= count;
    pending.bytes -= bytes;
    if (dropped > 0) log.warn({ dropped }, "live calls were not captured");
    dropped = 0;
    if (problem === null) {
      exportedMs = performance.now();
      return;
    }
    lost.add(count, { "nightshift.reason": "export_failed" });
    log.warn({ spans: count, problem }, "live calls not exported");
  });
  return {
    see(seen) {
      const bytes = bytesOf(seen);
      if (pending.count >= MAX_PENDING || pending.bytes + bytes > MAX_PENDING_BYTES) {
        dropped++;
        lost.add(1, { "nightshift.reason": "no_room" });
        if (dropped === 1) log.warn({ pending }, "live calls not captured");
        return;
      }
      pending.count++;
      pending.bytes += bytes;
      line.send(seen);
    },
    isBehind: () => pending.count > BEHIND && performance.now() - exportedMs < WORKS_MS,
    close: () => line.close(),
  };
}

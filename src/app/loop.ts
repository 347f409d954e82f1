import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../log.ts";
import { createHistogram, errorTypeOf, secondsSince } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";

const LONGEST_PAUSE_MS = 30_000;

/** Something that runs until it is stopped. */
export interface Loop {
  /** Ends the current pause, or leaves out the next one where a turn is under way: what that has read may be old already. */
  wake(): void;
  /** Resolves when the turn under way is over and no other follows. */
  stop(): Promise<void>;
}

/**
 * Calls `turn` again and again with a pause between. A turn that rejects is logged and repeated after a growing pause: a loop of the control plane never
 * ends because its database blinked.
 */
export function startLoop(
  options: { name: string; everyMs: number; longestPauseMs?: number; log: Logger },
  turn: (signal: AbortSignal) => Promise<unknown>,
): Loop {
  const stopping = new AbortController();
  const duration = createHistogram(METRIC.loopTurnDuration);
  let pause = new AbortController();
  const run = async (): Promise<void> => {
    let failures = 0;
    while (!stopping.signal.aborted) {
      pause = new AbortController();
      const startMs = performance.now();
      try {
        await turn(stopping.signal);
        duration.record(secondsSince(startMs), { "nightshift.loop": options.name });
        failures = 0;
      } catch (error) {
        if (stopping.signal.aborted) return;
        failures += 1;
        duration.record(secondsSince(startMs), { "nightshift.loop": options.name, "error.type": errorTypeOf(error) });
        options.log.error({ err: error, loop: options.name, failures }, "loop turn failed");
      }
      const pauseMs = Math.min(options.longestPauseMs ?? LONGEST_PAUSE_MS, options.everyMs * 2 ** Math.min(failures, 10));
      await sleep(pauseMs, undefined, { signal: AbortSignal.any([stopping.signal, pause.signal]) }).catch(() => undefined);
    }
  };
  const running = run();
  return {
    wake: () => pause.abort(),
    stop: () => {
      stopping.abort();
      return running;
    },
  };
}

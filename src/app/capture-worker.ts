import { platform, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { createEmitters } from "../serving/gateway/capture/emitters.ts";
import { createSendSpans } from "../serving/gateway/capture/send-spans.ts";
import type { CaptureRequest, CaptureThreadOptions } from "./capture-thread.ts";

/** The thread in which live calls become spans: reading, encoding and sending them takes longer than passing a call on. Started by capture-thread.ts only. */
const { agents, collectorUrl } = workerData as CaptureThreadOptions;
/** Where both have one core, passing calls on comes first; this still gets a quarter of it. */
const NICENESS = 5;
const GIVE_WAY_MS = 0.05;
/** Handed over at once: calls come so fast that capture has no time to lose. */
const MANY = 16;
const NOBODY_WAKES = new Int32Array(new SharedArrayBuffer(4));

// On Linux it is the calling thread's alone, elsewhere the whole process's.
if (platform() === "linux") setPriority(NICENESS);

const emitter = createEmitters(agents, {
  sendSpansWith: (token) => createSendSpans({ collectorUrl, token }),
  settled: (outcome) => parentPort?.postMessage(outcome),
});

parentPort?.on("message", (request: CaptureRequest) => {
  if (request.kind === "close") void emitter.close().finally(() => parentPort?.close());
  else
    for (const seen of request.seen) {
      emitter.send(seen);
      if (request.seen.length <= MANY) giveWay();
    }
});

/**
 * Sleeps for a moment. A scheduler lets a thread that is running go on for milliseconds before another gets its core, however nice it is; a call that comes meanwhile
 * would wait for all that was handed over, so it waits for one.
 */
function giveWay(): void {
  Atomics.wait(NOBODY_WAKES, 0, 0, GIVE_WAY_MS);
}

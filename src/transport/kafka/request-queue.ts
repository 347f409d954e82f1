import { createRequire } from "node:module";

interface RequestQueue {
  pending: readonly unknown[];
  throttledUntil: number;
  scheduleCheckPendingRequests: (this: RequestQueue) => void;
}

const MENDED = Symbol.for("nightshift.kafkajs.request-queue");

/**
 * Mends kafkajs 2.2.4, the last release: with nothing pending and no throttle it sets a timer of a negative time, which Node answers with a
 * TimeoutNegativeWarning, and whose end sets the next one, a thousand times a second for as long as the connection lives. Nothing needs a timer then: a request
 * that has to wait sets one when it is enqueued.
 */
export function mendRequestQueue(): void {
  const load = createRequire(import.meta.url);
  const { prototype } = load("kafkajs/src/network/requestQueue/index.js") as { prototype: RequestQueue & { [MENDED]?: true } };
  if (prototype[MENDED]) return;
  const schedule = prototype.scheduleCheckPendingRequests;
  prototype.scheduleCheckPendingRequests = function scheduleWhenNeeded(this: RequestQueue): void {
    if (this.pending.length > 0 || this.throttledUntil > Date.now()) schedule.call(this);
  };
  prototype[MENDED] = true;
}

import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { spanJson, traceRequest } from "../fixtures/otlp/build.ts";

/** Sends spans of its own, one request after the other, and keeps the ids of those that were acknowledged. */
export interface SpanSender {
  accepted: ReadonlySet<string>;
  stop(): Promise<void>;
}

/** Spans of a service that no agent matches. What is refused or finds nobody listening is not sent again: it was never acknowledged. */
export function createSpanSender(collectorUrl: string, seed: number): SpanSender {
  const accepted = new Set<string>();
  let sending = true;
  const hex = (index: number, length: number): string => createHash("sha256").update(`${seed}|${index}`).digest("hex").slice(0, length);
  const send = async (index: number): Promise<void> => {
    const spanId = hex(index, 16);
    const span = spanJson({ traceId: hex(Math.floor(index / 3), 32), spanId, name: "tick" });
    const body = JSON.stringify(traceRequest([span], { resource: { "service.name": "metronome" } }));
    const response = await fetch(`${collectorUrl}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body });
    if (response.status === 200) accepted.add(spanId);
    await response.arrayBuffer();
  };
  const loop = (async (): Promise<void> => {
    for (let index = 0; sending; index += 1) {
      // Nobody listens while `up` is dead.
      await send(index).catch(() => undefined);
      await sleep(50);
    }
  })();
  return {
    accepted,
    async stop() {
      sending = false;
      await loop;
    },
  };
}

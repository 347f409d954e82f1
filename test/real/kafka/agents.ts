import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { expect } from "vitest";
import type { Database } from "../../../src/store/database.ts";
import { loadTraces } from "../../../src/trace/span-store.ts";
import { protobuf, spanJson, traceRequest } from "../../fixtures/otlp/build.ts";
import { numbers } from "./world.ts";

/** One request of an agent: a trace and the ids of its spans. */
export interface Request {
  trace: string;
  spans: string[];
}

export const hex = (seed: string, length: number): string => createHash("sha256").update(seed).digest("hex").slice(0, length);

/** Requests with ids of their own; `name` keeps those of two tests apart. */
export function requestsOf(name: string, count: number, spansEach = 4): Request[] {
  return numbers(count).map((index) => {
    const trace = hex(`${name}-${index}`, 32);
    return { trace, spans: numbers(spansEach).map((span) => hex(`${trace}-${span}`, 16)) };
  });
}

/** Sends like an exporter: repeats 503 after the time that it is told. */
async function post(port: number, body: Uint8Array): Promise<{ attempts: number; response: Response }> {
  for (let attempts = 1; ; attempts++) {
    const response = await fetch(`http://127.0.0.1:${port}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf", "content-encoding": "gzip" },
      body: gzipSync(body) as Uint8Array<ArrayBuffer>,
    });
    if (response.status !== 503) return { attempts, response };
    await sleep(Number(response.headers.get("retry-after")) * 1_000);
  }
}

/** Six agents at once, until everything was accepted. Resolves to the attempts that it took. One span of each request has something to take out. */
export async function sendAll(port: number, requests: readonly Request[]): Promise<number> {
  let attempts = 0;
  const next = requests.values();
  const agents = numbers(6).map(async () => {
    for (const { trace, spans } of next) {
      const json = spans.map((span, index) =>
        spanJson({ traceId: trace, spanId: span, attributes: index === 0 ? { note: `mail ${span}@example.com` } : {} }),
      );
      const { attempts: needed, response } = await post(port, protobuf(traceRequest(json)));
      expect(response.status).toBe(200);
      attempts += needed;
      await sleep(20);
    }
  });
  await Promise.all(agents);
  return attempts;
}

/** Ids of what is stored of these traces, in order, once there are `count`. */
export async function untilStored({ kysely }: Database, traces: readonly string[], count: number): Promise<string[]> {
  for (;;) {
    const { spans } = await loadTraces(kysely, "default", traces);
    if (spans.length >= count) return spans.map(({ spanId }) => spanId).toSorted();
    await sleep(50);
  }
}

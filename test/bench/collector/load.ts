import { Pool } from "undici";
import { closedLoop, openLoop } from "../arrivals.ts";
import { quantiles, type Quantiles } from "../quantiles.ts";
import { makePayload, type PayloadSpec } from "./payload.ts";

/**
 * One load as a process of its own: `node load.ts JSON` sends export requests to one collector and prints what it saw as JSON. With a rate the arrivals are open (drawn
 * beforehand, sent when they are due); without one every connection sends its next request when the last was answered.
 */
export interface LoadOptions {
  url: string;
  payload: PayloadSpec;
  connections: number;
  /** Requests per second; null sends as fast as the connections answer. */
  rate: number | null;
  seconds: number;
}

export interface LoadResult {
  /** Answered with 200. */
  requests: number;
  /** Spans in them. */
  spans: number;
  /** Answered otherwise, or not at all. */
  failed: number;
  spansPerSecond: number;
  /** From the moment a request was due (without a rate: sent) to the end of its answer; milliseconds. */
  totalMs: Quantiles;
  bytesPerRequest: number;
}

/** Different requests, sent in turn: enough that no cache of a few entries knows them. */
const DIFFERENT = 32;

const options = JSON.parse(process.argv[2] ?? "{}") as LoadOptions;
const pool = new Pool(options.url, { connections: options.connections, pipelining: 1, bodyTimeout: 60_000, headersTimeout: 60_000 });
const payloads = Array.from({ length: DIFFERENT }, (_, seed) => makePayload(options.payload, seed));
const totals: number[] = [];
const state = { sent: 0, requests: 0, spans: 0, failed: 0 };
const startMs = performance.now();
const endMs = startMs + options.seconds * 1_000;

await (options.rate === null ? closedLoop(options.connections, endMs, send) : openLoop(options.rate, endMs, send));
const result: LoadResult = {
  ...{ requests: state.requests, spans: state.spans, failed: state.failed },
  spansPerSecond: state.spans / ((performance.now() - startMs) / 1_000),
  totalMs: quantiles(totals),
  bytesPerRequest: payloads.reduce((sum, { body }) => sum + body.length, 0) / payloads.length,
};
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));

async function send(dueMs: number): Promise<void> {
  const payload = payloads[state.sent++ % DIFFERENT];
  if (payload === undefined) return;
  const headers = {
    "content-type": "application/x-protobuf",
    ...(payload.encoding === "identity" ? {} : { "content-encoding": payload.encoding }),
  };
  try {
    const { statusCode, body } = await pool.request({ method: "POST", path: "/v1/traces", headers, body: payload.body });
    await body.dump();
    if (statusCode !== 200) throw new Error(String(statusCode));
    state.requests++;
    state.spans += payload.spans;
    totals.push(performance.now() - dueMs);
  } catch {
    state.failed++;
  }
}

import { randomBytes } from "node:crypto";
import { Pool } from "undici";
import { answerBody, answerEvents, requestBody } from "./conversation.ts";
import { closedLoop, openLoop } from "../arrivals.ts";
import { quantiles, type Quantiles } from "../quantiles.ts";

/**
 * One measurement as a process of its own: `node load.ts JSON` sends calls to one server and prints what it saw as JSON. With a rate the arrivals are open: they
 * are drawn beforehand (Poisson) and sent when they are due, whether or not earlier calls were answered, so that a server that stalls is not spared the calls that
 * would have met the stall. Without a rate every connection sends its next call when the last was answered, which keeps the server as busy as it can be.
 */
export interface LoadOptions {
  url: string;
  headers: Readonly<Record<string, string>>;
  model: string;
  stream: boolean;
  connections: number;
  /** Calls per second; null sends as fast as the connections answer. */
  rate: number | null;
  seconds: number;
  /** Sent and counted as load, but not looked at. */
  warmupSeconds: number;
  /** The answer must be the policy server's, byte for byte. */
  isExact: boolean;
}

export interface LoadResult {
  /** Answered, those of the warm-up included. */
  calls: number;
  /** Not answered with 200, or (where that is asked) with other bytes than the policy server's. */
  wrong: number;
  callsPerSecond: number;
  /** From sending the call to the first byte of the answer's body, and to its last; milliseconds. */
  firstByteMs: Quantiles;
  totalMs: Quantiles;
  /** From the moment a call was due to the moment it was sent: what the generator itself adds, at least part of a timer's millisecond. */
  lateMs: Quantiles;
}

/** A conversation has this many calls, with one session id. */
const CALLS_PER_CONVERSATION = 6;

const options = JSON.parse(process.argv[2] ?? "{}") as LoadOptions;
const url = new URL(options.url);
const pool = new Pool(url.origin, { connections: options.connections, pipelining: 1, bodyTimeout: 60_000, headersTimeout: 60_000 });
const body = requestBody(options);
const expected = options.stream ? Buffer.concat(answerEvents()) : answerBody();
const samples = { firstByteMs: [] as number[], totalMs: [] as number[], lateMs: [] as number[] };
const state = { sent: 0, calls: 0, wrong: 0 };
const startMs = performance.now();
const measureFromMs = startMs + options.warmupSeconds * 1_000;
const endMs = measureFromMs + options.seconds * 1_000;

await (options.rate === null ? closedLoop(options.connections, endMs, call) : openLoop(options.rate, endMs, call));
const result: LoadResult = {
  calls: state.calls,
  wrong: state.wrong,
  callsPerSecond: state.calls / ((performance.now() - startMs) / 1_000),
  firstByteMs: quantiles(samples.firstByteMs),
  totalMs: quantiles(samples.totalMs),
  lateMs: quantiles(samples.lateMs),
};
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));

/** Resolves when the call is over, however it ended. */
function call(dueMs: number): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const number = state.sent++;
  const sentMs = performance.now();
  const chunks: Buffer[] = [];
  let firstByteMs = 0;
  let statusCode = 0;
  const end = (isWhole: boolean) => {
    const nowMs = performance.now();
    state.calls++;
    const isRight = isWhole && statusCode === 200 && (!options.isExact || Buffer.concat(chunks).equals(expected));
    if (!isRight) state.wrong++;
    else if (dueMs >= measureFromMs) {
      samples.firstByteMs.push(firstByteMs - sentMs);
      samples.totalMs.push(nowMs - sentMs);
      samples.lateMs.push(sentMs - dueMs);
    }
    resolve();
  };
  const headers = {
    "content-type": "application/json",
    accept: "application/json",
    authorization: "Bearer none",
    "user-agent": "OpenAI/JS 7.57.0",
    "x-session-id": `bench-${process.pid}-${Math.floor(number / CALLS_PER_CONVERSATION)}`,
    "x-bench-call": String(number),
    traceparent: `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-01`,
    ...options.headers,
  };
  pool.dispatch(
    { method: "POST", path: url.pathname, headers, body },
    {
      onRequestStart: () => undefined,
      onResponseStart: (_controller, status) => void (statusCode = status),
      onResponseData(_controller, chunk) {
        if (firstByteMs === 0) firstByteMs = performance.now();
        chunks.push(chunk);
      },
      onResponseEnd: () => end(true),
      onResponseError: () => end(false),
    },
  );
  return over;
}

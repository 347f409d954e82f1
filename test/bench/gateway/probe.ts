import { subscribe } from "node:diagnostics_channel";
import { writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { quantiles, type Quantiles } from "../quantiles.ts";

/**
 * Loaded into the gateway's process with `--import`: times every call from inside, by what Node and undici announce and by the client's socket. SIGUSR2 writes what was
 * seen since the last one to the file of NIGHTSHIFT_BENCH_PROBE. It counts its own work as the gateway's.
 */
export interface ProbeResult {
  /**
   * Request read → request handed to the kernel for the policy server, plus answer's headers read → its last byte handed to the kernel for the client. Of a stream
   * the policy server's own time is in it.
   */
  addedMs: Quantiles;
  /** The same with the way back ending at the first byte of the answer's body. */
  firstByteMs: Quantiles;
}

/** Milliseconds of `performance.now()`; 0 where it has not happened yet. */
interface Call {
  readMs: number;
  sentMs: number;
  answerMs: number;
  bodyMs: number;
  firstWrittenMs: number;
  lastWrittenMs: number;
}

/** What undici's channels carry, as far as it is looked at. */
interface UpstreamRequest {
  headers: readonly unknown[];
}

const CALL_HEADER = "x-bench-call";
const calls = new Map<string, Call>();
const onSocket = new WeakMap<Socket, Call>();
const watched = new WeakSet<Socket>();
let added: number[] = [];
let firstByte: number[] = [];

subscribe("http.server.request.start", (message) => {
  const { request, socket } = message as { request: IncomingMessage; socket: Socket };
  const id = request.headers[CALL_HEADER];
  if (typeof id !== "string") return;
  const call: Call = { readMs: performance.now(), sentMs: 0, answerMs: 0, bodyMs: 0, firstWrittenMs: 0, lastWrittenMs: 0 };
  calls.set(id, call);
  onSocket.set(socket, call);
  watchWrites(socket);
});
subscribe("undici:request:bodySent", (message) => stamp(message, "sentMs"));
subscribe("undici:request:headers", (message) => stamp(message, "answerMs"));
subscribe("undici:request:bodyChunkReceived", (message) => stamp(message, "bodyMs"));
subscribe("http.server.response.finish", (message) => {
  const { request } = message as { request: IncomingMessage };
  const id = String(request.headers[CALL_HEADER]);
  const call = calls.get(id);
  if (call === undefined) return;
  calls.delete(id);
  const wayOut = call.sentMs - call.readMs;
  added.push(wayOut + call.lastWrittenMs - call.answerMs);
  firstByte.push(wayOut + call.firstWrittenMs - call.answerMs);
});

process.on("SIGUSR2", () => {
  const result: ProbeResult = { addedMs: quantiles(added), firstByteMs: quantiles(firstByte) };
  writeFileSync(process.env["NIGHTSHIFT_BENCH_PROBE"] ?? "/dev/null", JSON.stringify(result));
  added = [];
  firstByte = [];
});

/** Sets a moment of the call that an upstream request belongs to, at its first time. */
function stamp(message: unknown, moment: "sentMs" | "answerMs" | "bodyMs"): void {
  const { headers } = (message as { request: UpstreamRequest }).request;
  const call = calls.get(String(headers[headers.indexOf(CALL_HEADER) + 1]));
  if (call !== undefined && call[moment] === 0) call[moment] = performance.now();
}

/** Notes when bytes of an answer have been handed to the kernel. */
function watchWrites(socket: Socket): void {
  if (watched.has(socket)) return;
  watched.add(socket);
  for (const method of ["_write", "_writev"] as const) {
    const original = socket[method] as (...args: unknown[]) => void;
    socket[method] = function written(this: Socket, ...args: unknown[]) {
      original.apply(this, args);
      const call = onSocket.get(socket);
      if (call === undefined) return;
      call.lastWrittenMs = performance.now();
      if (call.bodyMs > 0 && call.firstWrittenMs === 0) call.firstWrittenMs = call.lastWrittenMs;
    };
  }
}

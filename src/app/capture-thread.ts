import { Worker } from "node:worker_threads";
import type { Logger } from "../log.ts";
import type { GatewayAgent } from "../serving/gateway.ts";
import { createCapture, type Capture, type CaptureLine, type Settled } from "../serving/gateway/capture/capture.ts";
import type { AuthorisedAgent } from "../serving/gateway/capture/emitters.ts";
import { bytesOf, type Seen } from "../serving/gateway/capture/seen.ts";

export interface CaptureThreadOptions {
  agents: readonly AuthorisedAgent[];
  collectorUrl: string;
}

export type CaptureRequest = { kind: "seen"; seen: readonly Seen[] } | { kind: "close" };

/** Waking a thread costs the thread that wakes it more than handing over a call: they go a few at a time. Their export takes half a second in any case. */
const HAND_OVER_EVERY_MS = 20;
/** An export that fails to end is given up by its exporter after ten. */
const CLOSE_MS = 15_000;
const RESTART_MS = 1_000;

/** Sends what the gateway sees of live calls to a collector, by way of a thread of its own; each agent's with the token of its tenant. */
export function captureTo(
  { collectorUrl, tokens }: { collectorUrl: string; tokens: ReadonlyMap<string, string | undefined> },
  { agents, log }: { agents: readonly GatewayAgent[]; log: Logger },
): Capture {
  const captured = agents.map(({ agent, serviceName, agentName }) => ({ agent, serviceName, agentName, token: tokens.get(agent) }));
  return createCapture((settled) => openCaptureThread({ agents: captured, collectorUrl }, { settled, log }), log);
}

interface ThreadDeps {
  /** Hears of everything sent, once. */
  settled: (outcome: Settled) => void;
  log: Logger;
  startWorker?: typeof captureWorker;
}

/** Has spans made and exported by a thread of its own. A thread that fails is started again; what it held is settled as lost. */
export function openCaptureThread(options: CaptureThreadOptions, deps: ThreadDeps): CaptureLine {
  let waiting: Seen[] = [];
  let timer: NodeJS.Timeout | null = null;
  const thread = keepThread(options, { ...deps, started: handOver });

  function handOver(): void {
    timer = null;
    if (waiting.length > 0 && thread.take(waiting)) waiting = [];
  }

  return {
    send(seen) {
      waiting.push(seen);
      timer ??= setTimeout(handOver, HAND_OVER_EVERY_MS);
    },
    async close() {
      if (timer !== null) clearTimeout(timer);
      handOver();
      await thread.end();
      if (waiting.length > 0) deps.settled({ ...sizeOf(waiting), problem: ENDED });
    },
  };
}

const ENDED = "the capture thread ended";

/** A worker that is started again whenever it ends, after a while, until `end`. */
function keepThread(options: CaptureThreadOptions, deps: ThreadDeps & { started: () => void }) {
  const { settled, log, startWorker = captureWorker } = deps;
  const held = { count: 0, bytes: 0 };
  let isOver = false;
  let worker: Worker | null = start();

  function start(): Worker {
    const started = startWorker(options);
    started.on("message", (outcome: Settled) => {
      held.count -= outcome.count;
      held.bytes -= outcome.bytes;
      settled(outcome);
    });
    started.on("error", (cause) => log.error({ err: cause }, "capture thread failed"));
    started.once("exit", () => {
      worker = null;
      if (held.count > 0) settled({ ...held, problem: ENDED });
      Object.assign(held, { count: 0, bytes: 0 });
      if (!isOver) setTimeout(restart, RESTART_MS).unref();
    });
    // It must not keep a process alive that has ended all else. Last, because a listener holds the process again.
    started.unref();
    return started;
  }

  function restart(): void {
    if (isOver) return;
    worker = start();
    deps.started();
  }

  return {
    /** False while there is no worker. */
    take(seen: readonly Seen[]): boolean {
      if (worker === null) return false;
      const { count, bytes } = sizeOf(seen);
      held.count += count;
      held.bytes += bytes;
      const request: CaptureRequest = { kind: "seen", seen: seen.map(standalone) };
      worker.postMessage(request, request.seen.flatMap(buffersOf));
      return true;
    },
    async end(): Promise<void> {
      isOver = true;
      if (worker !== null) await endWorker(worker);
    },
  };
}

function sizeOf(seen: readonly Seen[]): { count: number; bytes: number } {
  return { count: seen.length, bytes: seen.reduce((sum, one) => sum + bytesOf(one), 0) };
}

export function captureWorker(options: CaptureThreadOptions): Worker {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  // No environment: its OTEL_ variables are an agent's, whose credentials and limits they are.
  return new Worker(new URL(`./capture-worker.${extension}`, import.meta.url), { workerData: options, env: {} });
}

function endWorker(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    const limit = setTimeout(() => void worker.terminate(), CLOSE_MS);
    worker.once("exit", () => {
      clearTimeout(limit);
      resolve();
    });
    worker.ref();
    worker.postMessage({ kind: "close" } satisfies CaptureRequest);
  });
}

/** The same with bytes that share no memory: what they were cut from is Node's, and sending a piece of it would copy the whole. */
function standalone(seen: Seen): Seen {
  if (seen.kind === "assignment") return seen;
  return { ...seen, request: joined([seen.request]), answer: seen.answer === null ? null : [joined(seen.answer)] };
}

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

function buffersOf(seen: Seen): ArrayBuffer[] {
  if (seen.kind === "assignment") return [];
  return [seen.request, ...(seen.answer ?? [])].map(({ buffer }) => buffer as ArrayBuffer);
}

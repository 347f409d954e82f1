import { platform, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { createEmitter } from "../serving/gateway/capture/emitter.ts";
import type { CaptureRequest, CaptureThreadOptions } from "./capture-thread.ts";

/** The thread in which live calls become spans: reading, encoding and sending them takes longer than passing a call on. Started by capture-thread.ts only. */
const { agents, collector } = workerData as CaptureThreadOptions;
/** Where both have one core, passing calls on comes first; this still gets a quarter of it. */
const NICENESS = 5;

// On Linux it is the calling thread's alone, elsewhere the whole process's.
if (platform() === "linux") setPriority(NICENESS);

const emitter = createEmitter(agents, {
  exporter: new OTLPTraceExporter({
    url: `${collector.collectorUrl.replace(/\/+$/, "")}/v1/traces`,
    headers: collector.token === undefined ? {} : { authorization: `Bearer ${collector.token}` },
  }),
  settled: (outcome) => parentPort?.postMessage(outcome),
});

parentPort?.on("message", (request: CaptureRequest) => {
  if (request.kind === "seen") for (const seen of request.seen) emitter.send(seen);
  else void emitter.close().finally(() => parentPort?.close());
});

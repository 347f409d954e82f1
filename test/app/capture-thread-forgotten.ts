import { openCaptureThread } from "../../src/app/capture-thread.ts";
import { silentLog } from "../../src/log.ts";

/** A program that opens a capture thread and has nothing else to do: it ends. */
openCaptureThread({ agents: [], collectorUrl: "http://127.0.0.1:1" }, { settled: () => undefined, log: silentLog() });

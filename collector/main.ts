import { once } from "node:events";
import { parseArgs } from "node:util";
import { startCollectorProcess } from "../src/app/collector-process.ts";
import { keepHeapSmall } from "../src/app/small-heap.ts";
import { readTokenFile } from "../src/app/token-file.ts";
import { loadConfig } from "../src/config.ts";
import { NightshiftError } from "../src/errors.ts";
import { createLog } from "../src/log.ts";
import { startTelemetry } from "../src/telemetry/export.ts";

/**
 * The collector as a program of its own: what `nightshift collector --json` does, without loading anything that the other commands need. `--config FILE`; one line
 * {"event":"ready",…} on stdout; SIGINT or SIGTERM ends it.
 */
async function main(signal: AbortSignal): Promise<void> {
  keepHeapSmall();
  const { values } = parseArgs({ options: { config: { type: "string", short: "c" } } });
  const config = loadConfig({ file: values.config, env: process.env });
  const log = createLog({ level: config.logLevel, process: "collector" });
  const { tokenFile, ...to } = config.telemetry;
  const token = readTokenFile("telemetry.tokenFile", tokenFile);
  const own = { process: "collector", otlpEndpoint: to.otlpEndpoint, prometheus: to.prometheus, token, dataDir: config.dataDir };
  const telemetry = await startTelemetry(own, { log, env: process.env });
  const collector = await startCollectorProcess(config, { log, env: process.env });
  const { host } = config.collector;
  process.stdout.write(`${JSON.stringify({ event: "ready", host, port: collector.port, grpcPort: collector.grpcPort })}\n`);
  if (!signal.aborted) await once(signal, "abort");
  await collector.close();
  await telemetry.shutdown();
}

const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => stop.abort());
try {
  await main(stop.signal);
} catch (error) {
  if (!(error instanceof NightshiftError)) throw error;
  process.stderr.write(`${error.message.split("\n")[0] ?? ""}\n  fix: ${error.fix}\n`);
  process.exitCode = error.code === "config_invalid" || error.code === "config_unreadable" ? 2 : 1;
}

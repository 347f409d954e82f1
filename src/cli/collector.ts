import { once } from "node:events";
import type { Command } from "commander";
import { startCollectorProcess } from "../app/collector-process.ts";
import { keepHeapSmall } from "../app/small-heap.ts";
import { loadConfig } from "../config.ts";
import { createLog } from "../log.ts";
import { collectorUrls } from "./address.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { startOwnTelemetry } from "./own-telemetry.ts";

const EXAMPLES = `
Takes OTLP over HTTP and gRPC from agents, redacts it, and answers 200 once every in-sync replica of the Kafka topic has it. Needs transport.driver: kafka.

Examples:
  nightshift collector --config nightshift.yaml
  nightshift collector --config nightshift.yaml --json    one line {"event":"ready","collector":…} on stdout`;

/** `nightshift collector`: the OTLP receiver alone, as its own process. */
export function collectorCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  program
    .command("collector")
    .description("run the OTLP receiver alone, beside an agent")
    .option("-c, --config <file>", "config file (YAML)")
    .option("--json", "print one JSON line when ready, for programs")
    .addHelpText("after", EXAMPLES)
    .action(async (options: { config?: string; json?: true }) => {
      keepHeapSmall();
      const config = loadConfig({ file: options.config, env: context.env });
      const log = createLog({ level: config.logLevel, process: "collector" });
      const telemetry = await startOwnTelemetry("collector", config, { log, env: context.env });
      const collector = await startCollectorProcess(config, { log, env: context.env });
      const urls = collectorUrls(config, collector);
      const grpc = urls.collectorGrpc === undefined ? "" : ` (OTLP/gRPC: ${urls.collectorGrpc})`;
      context.out(
        options.json
          ? JSON.stringify({ event: "ready", ...urls })
          : `The collector is up: ${urls.collector}   OTEL_EXPORTER_OTLP_ENDPOINT of your agent${grpc}`,
      );
      if (!context.signal.aborted) await once(context.signal, "abort");
      await collector.close();
      await telemetry.shutdown();
      finish(0);
    });
}

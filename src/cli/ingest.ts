import { once } from "node:events";
import type { Command } from "commander";
import { startIngestProcess } from "../app/ingest-process.ts";
import { loadConfig } from "../config.ts";
import { createLog } from "../log.ts";
import { urlOf } from "./address.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { startOwnTelemetry } from "./own-telemetry.ts";

const EXAMPLES = `
Reads what collectors published, stores it and assembles conversations. Needs transport.driver: kafka and store.driver: postgres. Several share the work as one
consumer group.

Examples:
  nightshift ingest --config nightshift.yaml
  nightshift ingest --config nightshift.yaml --json    one line {"event":"ready",…} on stdout`;

/** `nightshift ingest`: from Kafka to the database, as its own process. */
export function ingestCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  program
    .command("ingest")
    .description("store and assemble what collectors publish, as its own process")
    .option("-c, --config <file>", "config file (YAML)")
    .option("--json", "print one JSON line when ready, for programs")
    .addHelpText("after", EXAMPLES)
    .action(async (options: { config?: string; json?: true }) => {
      const config = loadConfig({ file: options.config, env: context.env });
      const log = createLog({ level: config.logLevel, process: "ingest" });
      const telemetry = await startOwnTelemetry("ingest", config, { log, env: context.env });
      const ingest = await startIngestProcess(config, { log, env: context.env });
      const url = urlOf(config.ingest.host, ingest.port);
      context.out(options.json ? JSON.stringify({ event: "ready", ingest: url }) : `Ingest is up. Its health: ${url}/ready`);
      if (!context.signal.aborted) await once(context.signal, "abort");
      await ingest.close();
      await telemetry.shutdown();
      finish(0);
    });
}

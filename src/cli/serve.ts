import { once } from "node:events";
import type { Command } from "commander";
import { startServeProcess } from "../app/serve-process.ts";
import { loadConfig } from "../config.ts";
import { createLog } from "../log.ts";
import { urlOf } from "./address.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { startOwnTelemetry } from "./own-telemetry.ts";

const EXAMPLES = `
API, page, nights and promotions. Needs store.driver: postgres, transport.driver: kafka and named policyServers. Run two or more: one leads, the others answer
everything and write down what operators want, and one of them leads within seconds when the leader is gone. \`nightshift status\` names it.

Examples:
  nightshift serve --config nightshift.yaml
  nightshift serve --config nightshift.yaml --json    one line {"event":"ready","api":…,"name":…} on stdout`;

/** `nightshift serve`: one replica of the control service, as its own process. */
export function serveCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  program
    .command("serve")
    .description("run the control service alone; several replicas, one leads")
    .option("-c, --config <file>", "config file (YAML)")
    .option("--json", "print one JSON line when ready, for programs")
    .addHelpText("after", EXAMPLES)
    .action(async (options: { config?: string; json?: true }) => {
      const config = loadConfig({ file: options.config, env: context.env });
      const log = createLog({ level: config.logLevel, process: "serve" });
      const telemetry = await startOwnTelemetry("serve", config, { log, env: context.env });
      const serve = await startServeProcess(config, { log, env: context.env });
      const api = urlOf(config.api.host, serve.apiPort);
      context.out(
        options.json ? JSON.stringify({ event: "ready", api, name: serve.name }) : `The control service is up: ${api}   page and API`,
      );
      if (!context.signal.aborted) await once(context.signal, "abort");
      await serve.close();
      await telemetry.shutdown();
      finish(0);
    });
}

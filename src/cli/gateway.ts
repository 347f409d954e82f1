import { once } from "node:events";
import type { Command } from "commander";
import { startGatewayProcess } from "../app/gateway-process.ts";
import { loadConfig } from "../config.ts";
import { createLog } from "../log.ts";
import { tokenOf, urlOf } from "./address.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { startOwnTelemetry } from "./own-telemetry.ts";

const EXAMPLES = `
Polls its routes from gateway.controlUrl, sends the spans of live calls to gateway.collectorUrl, and keeps its routes below dataDir: with everything else
dead it serves the last-known stable adapter.

Examples:
  nightshift gateway --config nightshift.yaml
  NIGHTSHIFT_GATEWAY__CONTROL_URL=http://nightshift:4400 nightshift gateway --config nightshift.yaml
  nightshift gateway --config nightshift.yaml --json    one line {"event":"ready","gateway":…} on stdout`;

/** `nightshift gateway`: the gateway alone, as its own process. */
export function gatewayCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  program
    .command("gateway")
    .description("run the gateway alone, beside an agent")
    .option("-c, --config <file>", "config file (YAML)")
    .option("--token-file <file>", "file with the token for the control service (default: NIGHTSHIFT_TOKEN_FILE, else NIGHTSHIFT_TOKEN)")
    .option("--json", "print one JSON line when ready, for programs")
    .addHelpText("after", EXAMPLES)
    .action(async (options: { config?: string; tokenFile?: string; json?: true }) => {
      const config = loadConfig({ file: options.config, env: context.env });
      const log = createLog({ level: config.logLevel, process: "gateway" });
      const telemetry = await startOwnTelemetry("gateway", config, { log, env: context.env });
      const gateway = await startGatewayProcess(config, { log, token: tokenOf(options, context.env) });
      const url = `${urlOf(config.gateway.host, gateway.port)}/v1`;
      context.out(
        options.json ? JSON.stringify({ event: "ready", gateway: url }) : `The gateway is up: ${url}   OPENAI_BASE_URL of your agent`,
      );
      if (!context.signal.aborted) await once(context.signal, "abort");
      await gateway.close();
      await telemetry.shutdown();
      finish(0);
    });
}

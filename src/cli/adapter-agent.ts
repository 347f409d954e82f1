import { once } from "node:events";
import type { Command } from "commander";
import { startAdapterAgentProcess } from "../app/adapter-agent-process.ts";
import { loadConfig } from "../config.ts";
import { createLog } from "../log.ts";
import { tokenOf, urlOf } from "./address.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { startOwnTelemetry } from "./own-telemetry.ts";

const EXAMPLES = `
Runs beside one policy server: fetches the adapters that the control service wants there, verifies and loads them, proves each of them active and reports
it. GET /ready answers 200 once the adapter that stable answers with is proven on this server: a readiness probe for its pod. Set adapterAgent: true for the
server in agents.*.policyServers, so that the control service leaves the loading to it.

Examples:
  nightshift adapter-agent --replica vllm-0 --config nightshift.yaml
  nightshift adapter-agent --replica "$POD_NAME" --config nightshift.yaml         in the pod of a discovered server; POD_UID in the environment
  nightshift adapter-agent --replica vllm-0 --config nightshift.yaml --json    one line {"event":"ready","adapterAgent":…} on stdout`;

interface Options {
  replica: string;
  service?: string;
  serverUrl?: string;
  config?: string;
  tokenFile?: string;
  json?: true;
}

/** `nightshift adapter-agent`: the adapter agent of one policy server, as its own process. */
export function adapterAgentCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  program
    .command("adapter-agent")
    .description("run the adapter agent alone, beside one policy server")
    .requiredOption("--replica <name>", "name of the policy server in agents.*.policyServers; of its pod, where they are discovered")
    .option("--service <name>", "of a discovered replica: the Service in agents.*.policyServers.discover (default: the only one there is)")
    .option("--server-url <url>", "where this process reaches the policy server (default: as listed; discovered: localhost at its port)")
    .option("-c, --config <file>", "config file (YAML)")
    .option("--token-file <file>", "file with the token for the control service (default: NIGHTSHIFT_TOKEN_FILE, else NIGHTSHIFT_TOKEN)")
    .option("--json", "print one JSON line when ready, for programs")
    .addHelpText("after", EXAMPLES)
    .action(async (options: Options) => {
      const config = loadConfig({ file: options.config, env: context.env });
      const log = createLog({ level: config.logLevel, process: "adapter-agent" });
      const telemetry = await startOwnTelemetry("adapter-agent", config, { log, env: context.env });
      const agent = await startAdapterAgentProcess(config, options.replica, {
        log,
        token: tokenOf(options, context.env),
        env: context.env,
        service: options.service,
        serverUrl: options.serverUrl,
      });
      const url = urlOf(config.adapterAgent.host, agent.port);
      context.out(
        options.json
          ? JSON.stringify({ event: "ready", adapterAgent: url })
          : `The adapter agent of ${options.replica} is up: ${url}/ready   readiness of that server`,
      );
      if (!context.signal.aborted) await once(context.signal, "abort");
      await agent.close();
      await telemetry.shutdown();
      finish(0);
    });
}

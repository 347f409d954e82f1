import { once } from "node:events";
import { resolve } from "node:path";
import type { Command } from "commander";
import { startApp, type App } from "../app.ts";
import { loadConfig, type Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { createLog } from "../log.ts";
import { collectorUrls, urlOf } from "./address.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { startOwnTelemetry } from "./own-telemetry.ts";
import { probePython } from "./python.ts";

const EXAMPLES = `
Examples:
  nightshift up --config nightshift.yaml
  NIGHTSHIFT_GATEWAY__PORT=9090 nightshift up --config nightshift.yaml
  nightshift up --config nightshift.yaml --json    one line {"event":"ready",…} on stdout

The log goes to stderr as JSON lines. SIGINT or SIGTERM stops everything cleanly; a second one at once.`;

/** `nightshift up`: collector, ingest, control service, gateway and embedded policy servers in this process. */
export function upCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  program
    .command("up")
    .description("run everything in one process on the embedded parts")
    .option("-c, --config <file>", "config file (YAML); `nightshift init` writes one")
    .option("--json", "print one JSON line when ready, for programs")
    .addHelpText("after", EXAMPLES)
    .action(async (options: { config?: string; json?: true }) => {
      const config = loadConfig({ file: options.config, env: context.env });
      await requirePython(config);
      const log = createLog({ level: config.logLevel, process: "up" });
      const telemetry = await startOwnTelemetry("up", config, { log, env: context.env });
      const app = await startApp(config, { log, env: context.env });
      const urls = listeners(app, config);
      context.out(options.json ? JSON.stringify({ event: "ready", ...urls }) : describe(urls));
      if (!context.signal.aborted) await once(context.signal, "abort");
      if (!options.json) context.err("stopping");
      await app.close();
      await telemetry.shutdown();
      finish(0);
    });
}

interface Listeners {
  collector: string;
  /** Absent when OTLP/gRPC is switched off. */
  collectorGrpc?: string;
  gateway: string;
  api: string;
  policyServers: App["policyServers"];
}

function listeners(app: App, config: Config): Listeners {
  return {
    ...collectorUrls(config, { port: app.collectorPort, grpcPort: app.collectorGrpcPort }),
    gateway: `${urlOf(config.gateway.host, app.gatewayPort)}/v1`,
    api: urlOf(config.api.host, app.apiPort),
    policyServers: app.policyServers,
  };
}

function describe({ collector, collectorGrpc, gateway, api, policyServers }: Listeners): string {
  const servers = Object.entries(policyServers).map(([agent, urls]) => `  ${agent.padEnd(15)} ${urls.join(" ")}   (policy server)`);
  return [
    "Nightshift is up.",
    `  collector       ${collector}   OTEL_EXPORTER_OTLP_ENDPOINT of your agent${collectorGrpc === undefined ? "" : ` (OTLP/gRPC: ${collectorGrpc})`}`,
    `  gateway         ${gateway}   OPENAI_BASE_URL of your agent`,
    `  page and API    ${api}`,
    ...(servers.length === 0 ? ["  no agents are configured: nothing is served or trained yet"] : servers),
    "Ctrl-C stops it.",
  ].join("\n");
}

/** The trainer and the embedded policy server would fail later and say less. @throws NightshiftError `python_unusable` */
async function requirePython(config: Config): Promise<void> {
  if (Object.keys(config.agents).length === 0) return;
  const python = resolve(config.python);
  const probe = await probePython(python);
  if (probe.status === "unusable") throw nightshiftError("python_unusable", { python, problem: probe.problem });
  const missing = Object.entries(probe.packages).flatMap(([name, version]) => (version === null ? [name] : []));
  if (missing.length > 0) throw nightshiftError("python_unusable", { python, problem: `it lacks ${missing.join(", ")}` });
}

import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { startTelemetry, type Telemetry } from "../telemetry/export.ts";
import { readToken } from "./address.ts";

/**
 * Starts the process's own telemetry as its config says. `artifact-sync` is not scraped: it lives as long as a run, beside a process that may have the same config and address.
 * @throws NightshiftError `usage_invalid` when the token file cannot be read, `port_taken`
 */
export function startOwnTelemetry(
  process: "up" | "serve" | "gateway" | "collector" | "ingest" | "adapter-agent" | "artifact-sync",
  { telemetry: { otlpEndpoint, tokenFile, prometheus }, dataDir }: Config,
  deps: { log: Logger; env: Record<string, string | undefined> },
): Promise<Telemetry> {
  const token = tokenFile === undefined ? undefined : readToken(tokenFile);
  const isScraped = process !== "artifact-sync";
  return startTelemetry({ process, otlpEndpoint, token, prometheus: isScraped ? prometheus : undefined, dataDir }, deps);
}

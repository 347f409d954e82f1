import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { startTelemetry, type Telemetry } from "../telemetry/export.ts";
import { readToken } from "./address.ts";

/** Starts the process's own telemetry as its config says. @throws NightshiftError `usage_invalid` when the token file cannot be read */
export function startOwnTelemetry(
  process: "up" | "serve" | "gateway" | "collector" | "ingest" | "adapter-agent" | "artifact-sync",
  { telemetry: { otlpEndpoint, tokenFile } }: Config,
  deps: { log: Logger; env: Record<string, string | undefined> },
): Promise<Telemetry> {
  const token = tokenFile === undefined ? undefined : readToken(tokenFile);
  return startTelemetry({ process, otlpEndpoint, token }, deps);
}

import { resolve } from "node:path";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { openArtifacts } from "./artifacts.ts";
import type { ReceiverPorts } from "../../collector/receiver.ts";
import { startReceiver } from "./receiver.ts";
import { requireKafka } from "./shared-parts.ts";
import { openTransport } from "./transport.ts";

/** The collector alone, as it runs beside agents. */
export interface CollectorProcess extends ReceiverPorts {
  /** Answers what is under way, waits for the brokers, then frees the ports. */
  close(): Promise<void>;
}

/**
 * Starts the receiver as its own process: it talks to Kafka and the artifact store only, and keeps nothing.
 * @throws NightshiftError `config_invalid` for what only matters here, `port_taken`, `collector_open`, `artifact_credentials_unreadable`
 */
export async function startCollectorProcess(
  given: Config,
  deps: {
    log: Logger;
    /** The entry's environment: secrets may be named in it. */
    env: Record<string, string | undefined>;
  },
): Promise<CollectorProcess> {
  const { log, env } = deps;
  requireKafka(given, "the collector");
  const config = { ...given, dataDir: resolve(given.dataDir) };
  // What was opened is closed again, in the opposite order, if the rest does not start.
  await using parts = new AsyncDisposableStack();
  const artifacts = await openArtifacts(config, { env });
  if (config.artifacts.driver === "file") {
    log.warn({ directory: config.dataDir }, "spans larger than a record go through this directory, ingest must see the same one");
  }
  const transport = openTransport(config.transport, { log });
  parts.defer(() => transport.close());
  const receiver = await startReceiver(config, { transport, artifacts, log, now: Date.now });
  parts.defer(() => receiver.close());
  const running = parts.move();
  return { port: receiver.port, grpcPort: receiver.grpcPort, close: () => running.disposeAsync() };
}

import { resolve } from "node:path";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { openArtifacts } from "./artifacts.ts";
import { startIngest, startReceiver } from "./capture.ts";
import { openPostgres } from "./store.ts";
import { openTransport } from "./transport.ts";

/** The collector alone, as it runs beside agents. */
export interface CollectorProcess {
  port: number;
  /** Answers what is under way, waits for the brokers, then frees the port. */
  close(): Promise<void>;
}

interface ProcessDeps {
  log: Logger;
  /** The entry's environment: secrets may be named in it. */
  env: Record<string, string | undefined>;
}

/**
 * Starts the receiver as its own process: it talks to Kafka and the artifact store only, and keeps nothing.
 * @throws NightshiftError `config_invalid` for what only matters here, `port_taken`, `collector_open`, `artifact_credentials_unreadable`
 */
export async function startCollectorProcess(given: Config, { log, env }: ProcessDeps): Promise<CollectorProcess> {
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
  return { port: receiver.port, close: () => running.disposeAsync() };
}

/**
 * Starts ingest as its own process: Kafka to database, and assembly. Any number may run beside each other.
 * @throws NightshiftError `config_invalid` for what only matters here, `store_url_invalid`, `store_unavailable`
 */
export async function startIngestProcess(given: Config, { log, env }: ProcessDeps): Promise<{ close(): Promise<void> }> {
  requireKafka(given, "ingest");
  const config = { ...given, dataDir: resolve(given.dataDir) };
  if (config.store.driver !== "postgres") {
    throw invalid("store.driver", config.store.driver, "ingest as its own process shares the database with the control service: postgres");
  }
  await using parts = new AsyncDisposableStack();
  const database = openPostgres(config.store, { log, env });
  parts.defer(() => database.close());
  await database.migrate();
  const artifacts = await openArtifacts(config, { env });
  const transport = openTransport(config.transport, { log });
  parts.defer(() => transport.close());
  const ingest = await startIngest(config, { database, transport, artifacts, log, now: Date.now });
  parts.defer(() => ingest.close());
  const running = parts.move();
  return { close: () => running.disposeAsync() };
}

function requireKafka({ transport }: Config, what: string): void {
  if (transport.driver !== "kafka") throw invalid("transport.driver", transport.driver, `${what} as its own process needs kafka`);
}

function invalid(path: string, received: string, problem: string): Error {
  return nightshiftError("config_invalid", { path, received: JSON.stringify(received), problem });
}

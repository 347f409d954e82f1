import { resolve } from "node:path";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { startIngest, startReceiver } from "./capture.ts";
import { openPostgres } from "./store.ts";
import { openTransport } from "./transport.ts";

/** The collector alone, as it runs beside agents. */
export interface CollectorProcess {
  port: number;
  /** Answers what is under way, waits for the brokers, then frees the port. */
  close(): Promise<void>;
}

/**
 * Starts the receiver as its own process: it talks to Kafka only, and keeps nothing.
 * @throws NightshiftError `config_invalid` for what only matters here, `port_taken`, `collector_open`
 */
export async function startCollectorProcess(config: Config, { log }: { log: Logger }): Promise<CollectorProcess> {
  requireKafka(config, "the collector");
  const transport = openTransport(config.transport, { log });
  const receiver = await startReceiver({ ...config, dataDir: resolve(config.dataDir) }, { transport, log, now: Date.now });
  return {
    port: receiver.port,
    async close() {
      await receiver.close();
      await transport.close();
    },
  };
}

/**
 * Starts ingest as its own process: Kafka to database, and assembly. Any number may run beside each other.
 * @throws NightshiftError `config_invalid` for what only matters here, `store_url_invalid`, `store_unavailable`
 */
export async function startIngestProcess(
  config: Config,
  { log, env }: { log: Logger; env: Record<string, string | undefined> },
): Promise<{ close(): Promise<void> }> {
  requireKafka(config, "ingest");
  if (config.store.driver !== "postgres") {
    throw invalid("store.driver", config.store.driver, "ingest as its own process shares the database with the control service: postgres");
  }
  const database = openPostgres(config.store, { log, env });
  await database.migrate();
  const transport = openTransport(config.transport, { log });
  const ingest = await startIngest({ ...config, dataDir: resolve(config.dataDir) }, { database, transport, log, now: Date.now });
  return {
    async close() {
      await ingest.close();
      await transport.close();
      await database.close();
    },
  };
}

function requireKafka({ transport }: Config, what: string): void {
  if (transport.driver !== "kafka") throw invalid("transport.driver", transport.driver, `${what} as its own process needs kafka`);
}

function invalid(path: string, received: string, problem: string): Error {
  return nightshiftError("config_invalid", { path, received: JSON.stringify(received), problem });
}

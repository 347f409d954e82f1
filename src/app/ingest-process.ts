import { resolve } from "node:path";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { openArtifacts } from "./artifacts.ts";
import { startIngest } from "./capture.ts";
import { requireKafka, requirePostgres } from "./shared-parts.ts";
import { openPostgres } from "./store.ts";
import { openTransport } from "./transport.ts";

/**
 * Starts ingest as its own process: Kafka to database, and assembly. Any number may run beside each other.
 * @throws NightshiftError `config_invalid` for what only matters here, `store_url_invalid`, `store_unavailable`, `redaction_key_differs`
 */
export async function startIngestProcess(
  given: Config,
  { log, env }: { log: Logger; env: Record<string, string | undefined> },
): Promise<{ close(): Promise<void> }> {
  requireKafka(given, "ingest");
  const store = requirePostgres(given, "ingest");
  const config = { ...given, dataDir: resolve(given.dataDir) };
  await using parts = new AsyncDisposableStack();
  const database = openPostgres(store, { log, env });
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

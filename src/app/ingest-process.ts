import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "kysely";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import type { Transport } from "../transport/transport.ts";
import { openArtifacts } from "./artifacts.ts";
import { startIngest } from "./capture.ts";
import { requireKafka, requirePostgres } from "./shared-parts.ts";
import { openPostgres } from "./store.ts";
import { serveReadiness } from "./readiness-server.ts";
import { openTransport } from "./transport.ts";

/**
 * Starts ingest as its own process: Kafka to database, and assembly. Any number may run beside each other.
 * `GET /ready` on its port says whether both answer.
 * @throws NightshiftError `config_invalid` for what only matters here, `port_taken`, `store_url_invalid`, `store_unavailable`, `redaction_key_differs`
 */
export async function startIngestProcess(
  given: Config,
  { log, env }: { log: Logger; env: Record<string, string | undefined> },
): Promise<{ port: number; close(): Promise<void> }> {
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
  const readiness = await serveReadiness({ what: "ingest", ...config.ingest }, async () => ({
    notReadyBecause: await notReadyBecause(database, transport),
  }));
  parts.defer(() => readiness.close());
  const running = parts.move();
  return { port: readiness.port, close: () => running.disposeAsync() };
}

/** Health checks give up after a few seconds; a database that answers later answers nobody. */
const ASK_MS = 2_000;

async function notReadyBecause(database: Database, transport: Transport): Promise<string | null> {
  if (!transport.isReading()) return "no member of its consumer group: the brokers do not answer, or do not let it in";
  const answered = sql`select 1`.execute(database.kysely).then(
    () => true,
    () => false,
  );
  return (await Promise.race([answered, sleep(ASK_MS, false, { ref: false })])) ? null : "the database does not answer";
}

import { Kysely, PostgresDialect, sql } from "kysely";
import type { Logger } from "../log.ts";
import type { Database } from "./database.ts";
import { compactAlone } from "./compact.ts";
import { lockDirectory } from "./lock.ts";
import { migrateToLatest } from "./migrate.ts";
import { createPgliteConnection, createSingleClientPool } from "./pglite-connection.ts";
import type { Tables } from "./tables.ts";

/** Columns that Postgres would compress as it stores them: in WebAssembly that took a quarter of all of capture's time. On a server it is somebody else's, and stays. */
const UNCOMPRESSED = [
  ["spans", "raw"],
  ["log_events", "raw"],
  ["messages", "body"],
  ["trajectories", "body"],
] as const;

/**
 * Opens the embedded Postgres: one process only (an OS lock on `dir`), its own thread, every acknowledged commit synced to disk.
 * After a kill -9 Postgres replays its log here. `dir: null` keeps everything in memory, for tests.
 * @throws NightshiftError `data_dir_locked`, `disk_full` or `store_unavailable`
 */
export async function createPglite(options: { dir: string | null; log: Logger }): Promise<Database> {
  const { dir, log } = options;
  const unlock = dir === null ? () => {} : lockDirectory(dir);
  const connection = createPgliteConnection(dir ?? "memory", log);
  try {
    await connection.request({ kind: "open", dir });
  } catch (error) {
    await connection.terminate();
    unlock();
    throw error;
  }
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: createSingleClientPool(connection, log) }) });
  let closing: Promise<void> | null = null;
  const close = async () => {
    await kysely.destroy();
    await connection.request({ kind: "close" }).catch((error: unknown) => log.error({ err: error }, "database did not close cleanly"));
    await connection.terminate();
    unlock();
  };
  return {
    kysely,
    // One connection: transactions never interleave, so every one runs as if alone.
    transaction: (work) => kysely.transaction().execute(work),
    migrate: async () => {
      await migrateToLatest(kysely);
      for (const [table, column] of UNCOMPRESSED)
        await sql`alter table ${sql.table(table)} alter column ${sql.ref(column)} set storage external`.execute(kysely);
    },
    compact: (how) => compactAlone(kysely, how),
    close: () => (closing ??= close()),
  };
}

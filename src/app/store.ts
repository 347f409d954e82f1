import { join } from "node:path";
import type { Config, PostgresConfig } from "../config.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import { acquireAlone, createElection, type Election } from "../store/election.ts";
import { lockDirectory } from "../store/lock.ts";
import { createPglite } from "../store/pglite.ts";
import { postgresLock } from "../store/postgres-lock.ts";
import { createPostgres } from "../store/postgres.ts";
import { readPostgresUrl } from "../store/postgres-url.ts";

interface StoreDeps {
  log: Logger;
  /** The entry's environment: the server's URL may be named in it. */
  env: Record<string, string | undefined>;
}

/**
 * Opens the configured database. Either way this process owns the data directory from here on: keys, runs and artifacts are in it whatever holds the tables.
 * @throws NightshiftError `data_dir_locked`, `store_url_invalid`, `store_unavailable`, `disk_full`
 */
export async function openStore({ store, dataDir }: Pick<Config, "store" | "dataDir">, { log, env }: StoreDeps): Promise<Database> {
  const dir = join(dataDir, "store");
  if (store.driver === "pglite") return createPglite({ dir, log });
  const database = openPostgres(store, { log, env });
  const unlock = lockDirectory(dir);
  return {
    ...database,
    async close() {
      await database.close();
      unlock();
    },
  };
}

/** The configured server, which this does not connect to yet. @throws NightshiftError `store_url_invalid` */
export function openPostgres(store: PostgresConfig, { log, env }: StoreDeps): Database {
  return createPostgres({ ...store, url: readPostgresUrl(store, env) }, { log });
}

/** Who of several processes on the configured store leads. The embedded one has no other process. @throws NightshiftError `store_url_invalid` */
export function openElection(
  store: Config["store"],
  { name }: { name: string },
  deps: StoreDeps & { database: Database; now: () => number; monotonicMs: () => number },
): Election {
  if (store.driver === "pglite") return createElection({ name }, { ...deps, acquire: acquireAlone });
  const lock = { url: readPostgresUrl(store, deps.env), connectTimeoutMs: store.connectTimeoutMs };
  return createElection({ name }, { ...deps, acquire: postgresLock(lock, deps) });
}

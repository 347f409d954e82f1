import { Kysely, PostgresDialect } from "kysely";
import type { Logger } from "../log.ts";
import { repeatConflicts } from "./conflicts.ts";
import type { Database } from "./database.ts";
import { migrateToLatest } from "./migrate.ts";
import { createPostgresPool, type PostgresOptions } from "./postgres-pool.ts";
import type { Tables } from "./tables.ts";

/**
 * A PostgreSQL server, 14 or newer, shared by any number of processes. Connects when it is first asked; while the server is away every call fails with
 * `store_unavailable` after `connectTimeoutMs`, and works again when it is back.
 */
export function createPostgres(options: PostgresOptions, deps: { log: Logger }): Database {
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: createPostgresPool(options, deps) }) });
  let closing: Promise<void> | null = null;
  return {
    kysely,
    transaction: (work, { isolation = "serializable" } = {}) =>
      repeatConflicts(() => kysely.transaction().setIsolationLevel(isolation).execute(work)),
    migrate: () => migrateToLatest(kysely),
    close: () => (closing ??= kysely.destroy()),
  };
}

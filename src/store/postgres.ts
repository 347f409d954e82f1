import { Kysely, PostgresDialect } from "kysely";
import type { Logger } from "../log.ts";
import { compactShared } from "./compact.ts";
import { repeatConflicts } from "./conflicts.ts";
import type { Database } from "./database.ts";
import { migrateToLatest } from "./migrate.ts";
import { createPostgresPool, type PostgresOptions } from "./postgres-pool.ts";
import type { Tables } from "./tables.ts";

/** An index on a large table takes its time, and so does waiting for the process that builds it. A limit there is, or a server that hangs would be waited for for ever. */
const MIGRATION_LIMIT_MS = 24 * 3_600_000;

/**
 * A PostgreSQL server, 14 or newer, shared by any number of processes. Connects when it is first asked; while the server is away every call fails with
 * `store_unavailable` after `connectTimeoutMs`, and works again when it is back.
 */
export function createPostgres(options: PostgresOptions, deps: { log: Logger }): Database {
  const connect = (more: Partial<PostgresOptions> = {}) =>
    new Kysely<Tables>({ dialect: new PostgresDialect({ pool: createPostgresPool({ ...options, ...more }, deps) }) });
  const kysely = connect();
  const patiently = async (work: (patient: Kysely<Tables>) => Promise<void>): Promise<void> => {
    const patient = connect({ maxConnections: 1, statementTimeoutMs: MIGRATION_LIMIT_MS });
    try {
      await work(patient);
    } finally {
      await patient.destroy();
    }
  };
  let closing: Promise<void> | null = null;
  return {
    kysely,
    transaction: (work, { isolation = "serializable" } = {}) =>
      repeatConflicts(() => kysely.transaction().setIsolationLevel(isolation).execute(work)),
    migrate: () => patiently(migrateToLatest),
    compact: () => patiently(compactShared),
    close: () => (closing ??= kysely.destroy()),
  };
}

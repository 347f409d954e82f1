import type { Kysely } from "kysely";
import type { Tables } from "./tables.ts";

/**
 * The one database. Postgres' SQL dialect in every driver; queries are written with Kysely against `Tables`.
 * Transactions by `kysely.transaction()`, which a driver must make serialisable enough that a lost update cannot happen.
 */
export interface Database {
  readonly kysely: Kysely<Tables>;
  /** Brings the schema to the newest known migration. Idempotent. @throws NightshiftError `store_newer` */
  migrate(): Promise<void>;
  /** Flushes, closes and frees the lock. */
  close(): Promise<void>;
}

import type { Kysely, Transaction } from "kysely";
import type { Tables } from "./tables.ts";

/** The one database. Postgres' SQL dialect in every driver; queries are written with Kysely against `Tables`. */
export interface Database {
  /** For single statements. What belongs together goes through `transaction`. */
  readonly kysely: Kysely<Tables>;
  /**
   * Runs `work` as if no other transaction ran beside it, all of it or nothing. One that loses against another is run again, so `work` must have no effect
   * outside `trx`, and must query nothing but `trx`.
   * @throws NightshiftError `store_unavailable` when it kept losing or the database is gone: nothing is known of the commit then, so callers repeat idempotently
   */
  transaction<T>(work: (trx: Transaction<Tables>) => Promise<T>, options?: TransactionOptions): Promise<T>;
  /** Brings the schema to the newest known migration. Idempotent, and safe beside another process that does the same. @throws NightshiftError `store_newer` */
  migrate(): Promise<void>;
  /**
   * Gives back the space of what was deleted. "whole" is for erasure: where this process alone has the database, its files are written anew and its log is cut off, so that
   * no byte of deleted rows is left in its directory; everybody waits meanwhile. On a server that others use it is a plain vacuum: the space is written over in time.
   */
  compact(how: "whole" | "space"): Promise<void>;
  /** Flushes, closes and frees the lock. */
  close(): Promise<void>;
}

export interface TransactionOptions {
  /**
   * "serializable" unless told. "read committed" is for the one hot path, ingest, whose statements lock every row that they decide on before they read it: run
   * serialisably, workers that share nothing but index pages would make each other start over. And for what waits on erasures (erased-sources.ts): a
   * serialisable transaction has its snapshot before it has the lock.
   */
  isolation?: "serializable" | "read committed";
}

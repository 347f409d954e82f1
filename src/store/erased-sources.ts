import { type Kysely, sql } from "kysely";
import type { Tables } from "./tables.ts";

/** One number of Postgres' advisory locks: whoever stores what telemetry said holds it shared, an erasure alone. */
const LOCK = 0x6e_73_65_72;

/**
 * From here to the end of the transaction no erasure begins. What is read afterwards (tombstones, erased sources) therefore still holds at the commit. Read committed only: a
 * serialisable transaction has taken its snapshot before it waits.
 */
export async function holdErasures(trx: Kysely<Tables>): Promise<void> {
  await sql`select pg_advisory_xact_lock_shared(${LOCK})`.execute(trx);
}

/** Waits for every transaction that holds erasures, and keeps others out. Read committed only. */
export async function eraseAlone(trx: Kysely<Tables>): Promise<void> {
  await sql`select pg_advisory_xact_lock(${LOCK})`.execute(trx);
}

/** Whether one of these trajectories or scenarios was erased. Inside a transaction that holds erasures. */
export async function anyErased(trx: Kysely<Tables>, sources: readonly string[]): Promise<boolean> {
  const { rows } = await sql`select 1 from erased_sources where source = any(${sources}::text[]) limit 1`.execute(trx);
  return rows.length > 0;
}

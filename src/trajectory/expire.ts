import { type Kysely, sql } from "kysely";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import type { Database } from "../store/database.ts";
import { eraseAlone } from "../store/erased-sources.ts";
import type { Tables } from "../store/tables.ts";
import { dropClaims } from "./claims.ts";
import { deleteObjects } from "./delete-objects.ts";
import { removeConversations, removeTrajectories } from "./erase.ts";
import type { Count } from "./erasure-log.ts";

/** One batch of what is too old. Each function resolves to how many it took; less than `limit` means that no more is there. */
export interface Expiry {
  tenant: string;
  beforeMs: number;
  limit: number;
}

/** Conversations without a new span since, but for those that are still needed. */
export async function expireConversations(
  database: Database,
  { tenant, beforeMs, limit, needed }: Expiry & { needed: readonly string[] },
  count: Count,
): Promise<number> {
  const { rows } = await sql<{ id: string }>`
    select id from conversations where tenant = ${tenant} and last_received_ms < ${beforeMs} and id <> all(${needed}::text[])
    order by last_received_ms limit ${limit}`.execute(database.kysely);
  if (rows.length === 0) return 0;
  const conversationIds = rows.map(({ id }) => id);
  // Counted when it is committed: a transaction that loses is run again.
  const counted = await database.transaction(
    async (trx) => {
      await eraseAlone(trx);
      const removed: [string, number][] = [];
      // One that got a span since it was looked for is old no more.
      const old = await sql<{ id: string }>`
        select id from conversations where tenant = ${tenant} and id = any(${conversationIds}::text[]) and last_received_ms < ${beforeMs}
        order by id for update`.execute(trx);
      const count = (kind: string, number: number): void => void removed.push([kind, number]);
      const of = { tenant, subjects: [], conversationIds: old.rows.map(({ id }) => id) };
      const { former } = await removeConversations(trx, of, count);
      // What was assembled of them in conversations of others nobody would find after this.
      const left = former.filter((id) => !needed.includes(id));
      await removeTrajectories(trx, sql`conversation_id = any(${left}::text[]) and superseded`, tenant, count);
      return removed;
    },
    { isolation: "read committed" },
  );
  for (const [kind, number] of counted) count(kind, number);
  return rows.length;
}

/** Spans and log events that are filed under no conversation, or belong to no trace. */
export async function expireLoose(db: Kysely<Tables>, { tenant, beforeMs, limit }: Expiry, count: Count): Promise<number> {
  let most = 0;
  for (const table of ["spans", "log_events"] as const) {
    const { numAffectedRows } = await sql`
      delete from ${sql.table(table)} where ctid in (
        select r.ctid from ${sql.table(table)} r where r.tenant = ${tenant} and r.received_at_ms < ${beforeMs}
        and not exists (select 1 from conversation_traces t where t.tenant = r.tenant and t.trace_id = r.trace_id) limit ${limit})`.execute(
      db,
    );
    count(table, Number(numAffectedRows ?? 0));
    most = Math.max(most, Number(numAffectedRows ?? 0));
  }
  return most;
}

/** Feedback that nobody can join any more, or that is as old as what it is about may be. */
export async function expireFeedback(db: Kysely<Tables>, { tenant, beforeMs, limit }: Expiry, count: Count): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from feedback where ctid in (select ctid from feedback where tenant = ${tenant} and at_ms < ${beforeMs} limit ${limit})`.execute(
    db,
  );
  count("feedback", Number(numAffectedRows ?? 0));
  return Number(numAffectedRows ?? 0);
}

/**
 * Objects that carried large spans whose traces are gone. The object goes before its row says so: a process that is killed in between deletes it again, and a record
 * that asks for it meanwhile comes again.
 */
export async function expireClaims(
  database: Database,
  { tenant, beforeMs, limit, nowMs, remove }: Expiry & { nowMs: number; remove: (digest: Digest) => Promise<void> },
  count: Count,
): Promise<number> {
  const { rows } = await sql<{ digest: Digest; shared: boolean }>`
    select c.digest, exists (select 1 from claims o where o.digest = c.digest and o.tenant <> c.tenant and o.deleted_at_ms is null) as shared
    from claims c where c.tenant = ${tenant} and c.received_at_ms < ${beforeMs} and c.deleted_at_ms is null
    group by c.digest, c.tenant
    having bool_and(not exists (select 1 from conversation_traces t where t.tenant = c.tenant and t.trace_id = c.trace_id))
    limit ${limit}`.execute(database.kysely);
  for (const { digest, shared } of rows) if (!shared) await remove(digest);
  const digests = rows.map(({ digest }) => digest);
  await database.transaction((trx) => dropClaims(trx, tenant, digests, nowMs), { isolation: "read committed" });
  count("claims", rows.length);
  return rows.length;
}

/** One batch of media whose conversations are gone. The object goes before its rows: a process that is killed in between deletes it again. */
export async function expireMedia(
  database: Database,
  { tenant, limit }: Omit<Expiry, "beforeMs">,
  artifacts: Pick<ArtifactStore, "delete">,
  count: Count,
): Promise<number> {
  const { rows } = await sql<{ digest: Digest }>`
    select distinct m.digest from conversation_media m
    where m.tenant = ${tenant} and not exists (select 1 from conversations c where c.id = m.conversation_id) limit ${limit}`.execute(
    database.kysely,
  );
  const digests = rows.map(({ digest }) => digest);
  count("media", await deleteObjects({ database, artifacts }, digests));
  await sql`
    delete from conversation_media m where m.tenant = ${tenant} and m.digest = any(${digests}::text[])
    and not exists (select 1 from conversations c where c.id = m.conversation_id)`.execute(database.kysely);
  return rows.length;
}

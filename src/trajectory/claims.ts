import { type Kysely, sql } from "kysely";
import type { Digest } from "../artifact/artifact-store.ts";
import type { Tables } from "../store/tables.ts";
import type { Captured } from "../trace/span-store.ts";
import { NO_WORK, startErasure } from "./erasure-log.ts";

/** Traces of a claim with log events that belong to none. */
const NO_TRACE = "";

/**
 * Remembers the object that carried these records: it goes when they go. One whose records were stored before is remembered too, under no trace: retention takes it. One with a
 * record that was refused, because it is of somebody who was erased, goes at once.
 */
export async function noteClaim(
  trx: Kysely<Tables>,
  {
    tenant,
    digest,
    receivedAtMs,
    nowMs,
    isRefused,
  }: { tenant: string; digest: Digest; receivedAtMs: number; nowMs: number; isRefused: boolean },
  { spans, logs }: Captured,
): Promise<void> {
  const traces = new Set([...spans, ...logs].map(({ traceId }) => traceId ?? NO_TRACE));
  await trx
    .insertInto("claims")
    .values(
      (traces.size === 0 ? [NO_TRACE] : [...traces].toSorted()).map((trace_id) => ({
        tenant,
        digest,
        trace_id,
        received_at_ms: receivedAtMs,
        deleted_at_ms: null,
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  if (!isRefused) return;
  const objects = await dropClaims(trx, tenant, [digest], nowMs);
  await startErasure(trx, { tenant, nowMs, actor: "ingest", subjectHash: "" }, { ...NO_WORK, objects });
}

/** Whether the object was deleted with what it carried. */
export async function isClaimGone(db: Kysely<Tables>, tenant: string, digest: Digest): Promise<boolean> {
  const row = await db
    .selectFrom("claims")
    .select("digest")
    .where("tenant", "=", tenant)
    .where("digest", "=", digest)
    .where("deleted_at_ms", "is not", null)
    .executeTakeFirst();
  return row !== undefined;
}

/** Marks claims as gone and resolves to the objects that nobody else claims: those are to be deleted. */
export async function dropClaims(trx: Kysely<Tables>, tenant: string, digests: readonly string[], nowMs: number): Promise<Digest[]> {
  if (digests.length === 0) return [];
  const gone = await sql<{ digest: Digest }>`
    update claims set deleted_at_ms = coalesce(deleted_at_ms, ${nowMs}) where tenant = ${tenant} and digest = any(${digests}::text[])
    returning digest`.execute(trx);
  const kept = await sql<{ digest: Digest }>`
    select distinct digest from claims where digest = any(${digests}::text[]) and deleted_at_ms is null`.execute(trx);
  const claimed = new Set(kept.rows.map(({ digest }) => digest));
  return [...new Set(gone.rows.map(({ digest }) => digest))].filter((digest) => !claimed.has(digest));
}

import type { Kysely } from "kysely";
import type { Database } from "../store/database.ts";
import { anyErased, holdErasures } from "../store/erased-sources.ts";
import { insertable } from "../store/rows.ts";
import type { Tables } from "../store/tables.ts";

/** A judge's reply and what it cost. */
export interface CachedReply {
  reply: string;
  inputTokens: number;
  outputTokens: number;
}

/** The reply to an equal question; from here on it belongs to `sources` as well. */
export async function readReply(database: Database, key: string, sources: readonly string[]): Promise<CachedReply | null> {
  const row = await database.kysely.selectFrom("judge_results").select("body").where("cache_key", "=", key).executeTakeFirst();
  if (row === undefined) return null;
  await database.transaction(
    async (trx) => {
      await holdErasures(trx);
      if (!(await anyErased(trx, sources))) await link(trx, key, sources);
    },
    { isolation: "read committed" },
  );
  return row.body as unknown as CachedReply;
}

/** Keeps a reply, with whose text it may quote; nothing where one of them was erased meanwhile. The first reply stays. */
export async function writeReply(
  database: Database,
  { key, sources, nowMs }: { key: string; sources: readonly string[]; nowMs: number },
  reply: CachedReply,
): Promise<void> {
  await database.transaction(
    async (trx) => {
      await holdErasures(trx);
      if (await anyErased(trx, sources)) return;
      await trx
        .insertInto("judge_results")
        .values({ cache_key: key, body: JSON.stringify(reply), created_at_ms: nowMs })
        .onConflict((conflict) => conflict.column("cache_key").doNothing())
        .execute();
      await link(trx, key, sources);
    },
    { isolation: "read committed" },
  );
}

async function link(trx: Kysely<Tables>, key: string, sources: readonly string[]): Promise<void> {
  for (const rows of insertable(sources.toSorted().map((source) => ({ cache_key: key, source })))) {
    await trx
      .insertInto("judge_sources")
      .values(rows)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  }
}

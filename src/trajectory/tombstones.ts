import { createHmac, createSecretKey, randomBytes } from "node:crypto";
import { type Kysely, sql } from "kysely";
import { pinSetting } from "../store/pinned-setting.ts";
import { insertable } from "../store/rows.ts";
import type { Tables } from "../store/tables.ts";

/** What a tombstone stands for. */
export type Buried = { kind: "subject" | "conversation" | "trace" | "response"; id: string };

/**
 * Hashes of one tenant's tombstones. They are HMACs under a key that the first process drew at random and that lies in the settings: a tombstone alone names
 * nobody; who has the whole database can test a guess.
 */
export interface TombstoneHash {
  (buried: Buried): string;
}

export async function tombstoneHash(db: Kysely<Tables>, tenant: string): Promise<TombstoneHash> {
  const key = await pinSetting(db, `tombstone_key:${tenant}`, randomBytes(32).toString("hex"));
  // Made once: preparing a key takes longer than the hash of a name.
  const secret = createSecretKey(Buffer.from(key, "hex"));
  return ({ kind, id }) => createHmac("sha256", secret).update(`${kind}\0${id}`).digest("hex").slice(0, 40);
}

/** Sets tombstones; those that stand get the later time. Ordered, so that two writers never wait for each other in a circle. */
export async function bury(
  trx: Kysely<Tables>,
  { tenant, hash, atMs }: { tenant: string; hash: TombstoneHash; atMs: number },
  buried: readonly Buried[],
): Promise<void> {
  const rows = [...new Set(buried.map(hash))].toSorted().map((text) => ({ tenant, hash: text, at_ms: atMs }));
  for (const chunk of insertable(rows)) {
    await trx
      .insertInto("tombstones")
      .values(chunk)
      .onConflict((conflict) =>
        conflict.columns(["tenant", "hash"]).doUpdateSet({ at_ms: sql`greatest(tombstones.at_ms, excluded.at_ms)` }),
      )
      .execute();
  }
}

/** When each of these was buried, by its hash; those that were not are left out. */
export async function tombstonesAmong(
  trx: Kysely<Tables>,
  tenant: string,
  hashes: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  if (hashes.length === 0) return new Map();
  const { rows } = await sql<{ hash: string; at_ms: number }>`
    select hash, at_ms from tombstones where tenant = ${tenant} and hash = any(${hashes}::text[])`.execute(trx);
  return new Map(rows.map((row) => [row.hash, row.at_ms]));
}

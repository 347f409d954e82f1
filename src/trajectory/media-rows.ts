import { type Kysely, sql } from "kysely";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import type { Database } from "../store/database.ts";
import { holdErasures } from "../store/erased-sources.ts";
import type { Tables } from "../store/tables.ts";

const READ_COMMITTED = { isolation: "read committed" } as const;

/**
 * Stores a conversation's media, written down before they are, so that an erasure finds what a process left that was killed in between. While they are being stored no erasure
 * begins. Resolves to false, with nothing stored, where the conversation is gone. @throws NightshiftError of the artifact store or the database
 */
export async function storeMedia(
  { database, artifacts }: { database: Database; artifacts: Pick<ArtifactStore, "put"> },
  { tenant, id }: { tenant: string; id: string },
  media: ReadonlyMap<Digest, Uint8Array>,
): Promise<boolean> {
  const rows = [...media.keys()].toSorted().map((digest) => ({ tenant, conversation_id: id, digest }));
  const announced = await database.transaction(async (trx) => {
    await holdErasures(trx);
    if (!(await isHeld(trx, id))) return false;
    await trx
      .insertInto("conversation_media")
      .values(rows)
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    return true;
  }, READ_COMMITTED);
  if (!announced) return false;
  return database.transaction(async (trx) => {
    await holdErasures(trx);
    const { rows: left } = await sql<{ digest: string }>`select digest from conversation_media where conversation_id = ${id}`.execute(trx);
    const named = new Set(left.map(({ digest }) => digest));
    if (![...media.keys()].every((digest) => named.has(digest))) return false;
    for (const bytes of media.values()) await artifacts.put(bytes);
    return true;
  }, READ_COMMITTED);
}

async function isHeld(trx: Kysely<Tables>, id: string): Promise<boolean> {
  const { rows } = await sql`select 1 from conversations where id = ${id}`.execute(trx);
  return rows.length > 0;
}

/** Forgets which media erased conversations had. Resolves to the objects that no other conversation has. */
export async function dropMedia(trx: Kysely<Tables>, conversationIds: readonly string[]): Promise<Digest[]> {
  const dropped = await sql<{ digest: Digest }>`
    delete from conversation_media where conversation_id = any(${conversationIds}::text[]) returning digest`.execute(trx);
  return unnamed(trx, dropped.rows);
}

/** As `dropMedia`, for conversations that lost some of their trajectories: what those that are left refer to stays. */
export async function dropUnusedMedia(trx: Kysely<Tables>, conversationIds: readonly string[]): Promise<Digest[]> {
  const dropped = await sql<{ digest: Digest }>`
    delete from conversation_media m where m.conversation_id = any(${conversationIds}::text[]) and not exists (
      select 1 from trajectories t, json_array_elements_text(t.body -> 'media') as named
      where t.conversation_id = m.conversation_id and named = m.digest)
    returning digest`.execute(trx);
  return unnamed(trx, dropped.rows);
}

async function unnamed(trx: Kysely<Tables>, dropped: readonly { digest: Digest }[]): Promise<Digest[]> {
  const digests = [...new Set(dropped.map(({ digest }) => digest))];
  const { rows } = await sql<{ digest: Digest }>`
    select d as digest from unnest(${digests}::text[]) as d
    where not exists (select 1 from conversation_media m where m.digest = d)`.execute(trx);
  return rows.map(({ digest }) => digest);
}

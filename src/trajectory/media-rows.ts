import { type Kysely, sql } from "kysely";
import type { ArtifactStore, Digest } from "../artifact/artifact-store.ts";
import type { Database } from "../store/database.ts";
import { holdErasures } from "../store/erased-sources.ts";
import type { Tables } from "../store/tables.ts";

/** A conversation as it was read: what has got a span since, or lost one to an erasure, is another. */
export interface ReadConversation {
  tenant: string;
  id: string;
  arrivals: number;
}

/**
 * Stores a conversation's media, written down before they are, so that an erasure finds what a process left that was killed in between. While one of them is being stored no
 * erasure begins. Resolves to false where the conversation is no more as it was read: what is stored by then goes with it.
 * @throws NightshiftError of the artifact store or the database
 */
export async function storeMedia(
  { database, artifacts }: { database: Database; artifacts: Pick<ArtifactStore, "put"> },
  conversation: ReadConversation,
  media: ReadonlyMap<Digest, Uint8Array>,
): Promise<boolean> {
  const { tenant, id } = conversation;
  const digests = [...media.keys()].toSorted();
  const unlessChanged = (work: (trx: Kysely<Tables>) => Promise<unknown>): Promise<boolean> =>
    database.transaction(
      async (trx) => {
        await holdErasures(trx);
        if (!(await isAsRead(trx, conversation))) return false;
        await work(trx);
        return true;
      },
      { isolation: "read committed" },
    );
  const isAnnounced = await unlessChanged((trx) =>
    sql`insert into conversation_media (conversation_id, digest, tenant)
      select ${id}, digest, ${tenant} from unnest(${digests}::text[]) as digest on conflict do nothing`.execute(trx),
  );
  if (!isAnnounced) return false;
  // Each for itself: a transaction that waits for a store longer than a statement may take is ended.
  for (const bytes of media.values()) if (!(await unlessChanged(() => artifacts.put(bytes)))) return false;
  return true;
}

async function isAsRead(trx: Kysely<Tables>, { id, arrivals }: ReadConversation): Promise<boolean> {
  const { rows } = await sql`select 1 from conversations where id = ${id} and arrivals = ${arrivals}`.execute(trx);
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

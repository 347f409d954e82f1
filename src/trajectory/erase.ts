import { type Kysely, type RawBuilder, sql } from "kysely";
import type { Digest } from "../artifact/artifact-store.ts";
import { indexableText } from "../store/storable.ts";
import type { Tables } from "../store/tables.ts";
import { dropClaims } from "./claims.ts";
import type { Count, ErasureWork, Version } from "./erasure-log.ts";
import { dropMedia, dropUnusedMedia } from "./media-rows.ts";
import { removeRollouts } from "./erase-rollouts.ts";
import { responseIdsOf } from "./response-ids.ts";
import { conversationsOf, sharedAmong, tracesToErase } from "./subject-conversations.ts";
import { bury, type Buried, type TombstoneHash } from "./tombstones.ts";

export interface ToErase {
  tenant: string;
  hash: TombstoneHash;
  /** The subject's key in every spelling that it may be stored in; none where conversations are all that is known. */
  subjects: readonly string[];
  conversationIds: readonly string[];
  /** What was read before everybody was made to wait. */
  said: Said;
  nowMs: number;
}

/** Ids of the model's responses in these traces. */
export interface Said {
  traces: ReadonlySet<string>;
  responseIds: readonly string[];
}

/** What would be erased: decoding it all takes a while, in which others need not wait. */
export async function readSaid(
  db: Kysely<Tables>,
  { tenant, subjects, conversationIds }: { tenant: string; subjects: readonly string[]; conversationIds: readonly string[] },
): Promise<Said> {
  const found = [...conversationIds, ...(await conversationsOf(db, tenant, subjects))];
  const traces = await tracesToErase(db, { tenant, subjects, conversationIds: found });
  return { traces: new Set(traces), responseIds: await responseIdsOf(db, tenant, traces) };
}

/**
 * Removes every row that holds a subject's text or names it, and sets tombstones. Objects and files that hold it are what the result says. Inside a read-committed
 * transaction that erases alone (`eraseAlone`).
 */
export async function eraseRows(
  trx: Kysely<Tables>,
  { tenant, hash, subjects, conversationIds, said, nowMs }: ToErase,
): Promise<ErasureWork> {
  const found = [...new Set([...conversationIds, ...(await conversationsOf(trx, tenant, subjects))])].toSorted();
  const of = { tenant, subjects, conversationIds: found };
  const removed = new Map<string, number>();
  const count: Count = (kind, rows) => void removed.set(kind, (removed.get(kind) ?? 0) + rows);
  const sharedConversations = subjects.length === 0 ? 0 : await sharedAmong(trx, of);
  const since = (await tracesToErase(trx, of)).filter((id) => !said.traces.has(id));
  const responses = [...said.responseIds, ...(await responseIdsOf(trx, tenant, since))];
  const { traces, former, responseIds, ...gone } = await removeConversations(trx, { ...of, responseIds: responses }, count);
  const left = await removeFromFormer(trx, tenant, former, count);
  const rollouts = await removeRollouts(trx, { gone: gone.versions, left: left.versions }, nowMs, count);
  const media = [...(await dropMedia(trx, found)), ...left.media];
  count("media", media.length);
  const claims = await sql<{ digest: string }>`
    select distinct digest from claims where tenant = ${tenant} and trace_id = any(${traces}::text[]) and deleted_at_ms is null`.execute(
    trx,
  );
  const carried = await dropClaims(
    trx,
    tenant,
    claims.rows.map(({ digest }) => digest),
    nowMs,
  );
  await bury(trx, { tenant, hash, atMs: nowMs }, [
    ...subjects.map((id): Buried => ({ kind: "subject", id })),
    ...found.map((id): Buried => ({ kind: "conversation", id })),
    ...traces.map((id): Buried => ({ kind: "trace", id })),
    ...responseIds.map((id): Buried => ({ kind: "response", id })),
  ]);
  const { objects, learned, batches, endedRuns } = rollouts;
  return {
    objects: [...objects, ...carried, ...media],
    learned,
    batches,
    endedRuns,
    // Lineage names a conversation as it was called when an adapter learned from it.
    conversationIds: [...new Set([...found, ...left.conversationIds])],
    sharedConversations,
    removed: Object.fromEntries(removed),
  };
}

/**
 * Removes conversations with what was captured of them and said about them, and the messages that nobody else uses. Inside a read-committed transaction that erases alone, or a message
 * could go that another trajectory is just being saved with. Resolves to their traces, trajectories and responses, and to the conversations that their traces had left.
 */
export async function removeConversations(
  trx: Kysely<Tables>,
  of: { tenant: string; subjects: readonly string[]; conversationIds: readonly string[]; responseIds?: readonly string[] },
  count: Count,
): Promise<{ traces: string[]; former: string[]; versions: Version[]; responseIds: string[] }> {
  const { tenant, subjects, conversationIds } = of;
  // First: whoever assembles one of them has its row locked, and what that one saved is in sight when the statement goes on.
  const conversations = await sql<{ id: string; key: string }>`
    delete from conversations where tenant = ${tenant} and id = any(${conversationIds}::text[]) returning id, key`.execute(trx);
  count("conversations", conversations.rows.length);
  const traces = await removeTraces(trx, tenant, conversationIds, subjects, count);
  const former = await removeFormer(trx, { tenant, traces, conversationIds });
  const trajectories = await removeTrajectories(trx, sql`conversation_id = any(${conversationIds}::text[])`, tenant, count);
  const responseIds = [...new Set([...trajectories.responseIds, ...(of.responseIds ?? [])])];
  const keys = conversations.rows.map(({ key }) => key);
  await removeFeedback(trx, { tenant, subjects, keys, traces, conversationIds, responseIds }, count);
  return { traces, former, versions: trajectories.versions, responseIds };
}

/** Forgets where these traces were filed before. Resolves to those conversations that are not themselves removed. */
async function removeFormer(
  trx: Kysely<Tables>,
  { tenant, traces, conversationIds }: { tenant: string; traces: readonly string[]; conversationIds: readonly string[] },
): Promise<string[]> {
  const { rows } = await sql<{ conversation_id: string }>`
    delete from former_conversations where tenant = ${tenant}
    and (trace_id = any(${traces}::text[]) or conversation_id = any(${conversationIds}::text[])) returning conversation_id`.execute(trx);
  const gone = new Set(conversationIds);
  return [...new Set(rows.map((row) => row.conversation_id))].filter((id) => !gone.has(id)).toSorted();
}

/**
 * Conversations that erased traces have left, and others are in: what was assembled while they were there goes. What is open is assembled again, and by whoever is at it just now,
 * from the start.
 */
async function removeFromFormer(
  trx: Kysely<Tables>,
  tenant: string,
  former: readonly string[],
  count: Count,
): Promise<{ versions: Version[]; media: Digest[]; conversationIds: string[] }> {
  if (former.length === 0) return { versions: [], media: [], conversationIds: [] };
  const open = await sql<{ id: string }>`
    update conversations set arrivals = arrivals + 1 where tenant = ${tenant} and id = any(${former}::text[]) and state = 'open' returning id`.execute(
    trx,
  );
  const ids = open.rows.map(({ id }) => id);
  const { versions } = await removeTrajectories(
    trx,
    sql`conversation_id = any(${former}::text[]) and (superseded or conversation_id = any(${ids}::text[]))`,
    tenant,
    count,
  );
  return { versions, media: await dropUnusedMedia(trx, former), conversationIds: versions.length === 0 ? [] : [...former] };
}

async function removeTraces(
  trx: Kysely<Tables>,
  tenant: string,
  conversationIds: readonly string[],
  subjects: readonly string[],
  count: Count,
): Promise<string[]> {
  const filed = await sql<{ trace_id: string }>`
    delete from conversation_traces where tenant = ${tenant} and conversation_id = any(${conversationIds}::text[]) returning trace_id`.execute(
    trx,
  );
  const named = await sql<{ trace_id: string }>`
    delete from trace_subjects where tenant = ${tenant} and subject = any(${subjects}::text[]) returning trace_id`.execute(trx);
  const traces = [...new Set([...filed.rows, ...named.rows].map(({ trace_id: id }) => id))];
  await sql`delete from trace_subjects where tenant = ${tenant} and trace_id = any(${traces}::text[])`.execute(trx);
  for (const table of ["spans", "log_events"] as const) {
    const { numAffectedRows } = await sql`
      delete from ${sql.table(table)} where tenant = ${tenant} and trace_id = any(${traces}::text[])`.execute(trx);
    count(table, Number(numAffectedRows ?? 0));
  }
  return traces;
}

/** With the messages that no trajectory is left to use. */
export async function removeTrajectories(
  trx: Kysely<Tables>,
  which: RawBuilder<unknown>,
  tenant: string,
  count: Count,
): Promise<{ versions: Version[]; responseIds: string[] }> {
  const { rows } = await sql<{ id: string; version: number; message_hashes: string[]; response_ids: string[] | null }>`
    delete from trajectories where tenant = ${tenant} and ${which}
    returning id, version, message_hashes, body -> 'responseIds' as response_ids`.execute(trx);
  count("trajectories", rows.length);
  count(
    "messages",
    await removeUnusedMessages(
      trx,
      rows.flatMap((row) => row.message_hashes),
    ),
  );
  return { versions: rows, responseIds: rows.flatMap((row) => (row.response_ids ?? []).map(indexableText)) };
}

/** Of these messages those that no trajectory has. Resolves to how many they were. */
async function removeUnusedMessages(trx: Kysely<Tables>, hashes: readonly string[]): Promise<number> {
  if (hashes.length === 0) return 0;
  const { numAffectedRows } = await sql`
    delete from messages m where m.hash = any(${[...new Set(hashes)]}::text[])
    and not exists (select 1 from trajectories t where t.message_hashes @> jsonb_build_array(m.hash))`.execute(trx);
  return Number(numAffectedRows ?? 0);
}

async function removeFeedback(
  trx: Kysely<Tables>,
  of: {
    tenant: string;
    subjects: readonly string[];
    keys: readonly string[];
    traces: readonly string[];
    conversationIds: readonly string[];
    responseIds: readonly string[];
  },
  count: Count,
): Promise<void> {
  const { numAffectedRows } = await sql`
    delete from feedback where tenant = ${of.tenant} and (
      (target_kind = 'subject' and target = any(${of.subjects}::text[]))
      or (target_kind = 'conversation' and target = any(${[...of.conversationIds, ...of.keys]}::text[]))
      or (target_kind = 'trace' and target = any(${of.traces}::text[]))
      or (target_kind = 'span' and split_part(target, '/', 1) = any(${of.traces}::text[]))
      or (target_kind = 'response' and target = any(${of.responseIds}::text[])))`.execute(trx);
  count("feedback", Number(numAffectedRows ?? 0));
}

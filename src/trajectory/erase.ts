import { type Kysely, sql } from "kysely";
import type { Digest } from "../artifact/artifact-store.ts";
import { nightshiftError } from "../errors.ts";
import type { Tables } from "../store/tables.ts";
import { dropClaims } from "./claims.ts";
import type { ErasureWork } from "./erasure-log.ts";
import { dropMedia } from "./media-rows.ts";
import { scenarioIdOf } from "./record-tape.ts";
import { bury, type Buried, type TombstoneHash } from "./tombstones.ts";

export interface ToErase {
  tenant: string;
  hash: TombstoneHash;
  /** The subject's key in every spelling that it may be stored in; none where conversations are all that is known. */
  subjects: readonly string[];
  conversationIds: readonly string[];
  nowMs: number;
}

/** The conversations of a subject: those that its trajectories or its spans say, open ones too. */
export async function conversationsOf(db: Kysely<Tables>, tenant: string, subjects: readonly string[]): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select conversation_id as id from trajectories where tenant = ${tenant} and subject = any(${subjects}::text[])
    union select t.conversation_id from trace_subjects s join conversation_traces t on t.tenant = s.tenant and t.trace_id = s.trace_id
      where s.tenant = ${tenant} and s.subject = any(${subjects}::text[])
    union select id from conversations where tenant = ${tenant} and 'conversation:' || id = any(${subjects}::text[])
    order by id`.execute(db);
  return rows.map(({ id }) => id);
}

/**
 * Removes every row that holds a subject's text or names it, and sets tombstones. Objects and files that hold it are what the result says. Inside a read-committed
 * transaction that erases alone (`eraseAlone`).
 */
export async function eraseRows(trx: Kysely<Tables>, { tenant, hash, subjects, conversationIds, nowMs }: ToErase): Promise<ErasureWork> {
  const found = [...new Set([...conversationIds, ...(await conversationsOf(trx, tenant, subjects))])].toSorted();
  const removed = new Map<string, number>();
  const count: Count = (kind, rows) => void removed.set(kind, (removed.get(kind) ?? 0) + rows);
  const { traces, versions, responseIds } = await removeConversations(trx, { tenant, subjects, conversationIds: found }, count);
  const rollouts = await removeRollouts(trx, versions, nowMs, count);
  const media = await dropMedia(trx, versions);
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
    conversationIds: found,
    removed: Object.fromEntries(removed),
  };
}

/**
 * Removes conversations with what was captured of them and said about them, and the messages that nobody else uses. Read committed; beside ingest it may have to be run
 * again. Resolves to their traces, trajectories and responses.
 */
export async function removeConversations(
  trx: Kysely<Tables>,
  { tenant, subjects, conversationIds }: { tenant: string; subjects: readonly string[]; conversationIds: readonly string[] },
  count: Count,
): Promise<{ traces: string[]; versions: { id: string; version: number }[]; responseIds: string[] }> {
  // First: whoever assembles one of them has its row locked, and what that one saved is in sight when the statement goes on.
  const conversations = await sql<{ id: string; key: string }>`
    delete from conversations where tenant = ${tenant} and id = any(${conversationIds}::text[]) returning id, key`.execute(trx);
  count("conversations", conversations.rows.length);
  const traces = await removeTraces(trx, tenant, conversationIds, subjects, count);
  const { versions, responseIds } = await removeTrajectories(trx, tenant, conversationIds, count);
  const keys = conversations.rows.map(({ key }) => key);
  await removeFeedback(trx, { tenant, subjects, keys, traces, conversationIds, responseIds }, count);
  return { traces, versions, responseIds };
}

/** Adds removed rows to a tally. */
export type Count = (kind: string, rows: number) => void;

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
async function removeTrajectories(
  trx: Kysely<Tables>,
  tenant: string,
  conversationIds: readonly string[],
  count: Count,
): Promise<{ versions: { id: string; version: number }[]; responseIds: string[] }> {
  const { rows } = await sql<{ id: string; version: number; message_hashes: string[]; response_ids: string[] | null }>`
    delete from trajectories where tenant = ${tenant} and conversation_id = any(${conversationIds}::text[])
    returning id, version, message_hashes, body -> 'responseIds' as response_ids`.execute(trx);
  count("trajectories", rows.length);
  count(
    "messages",
    await removeUnusedMessages(
      trx,
      rows.flatMap((row) => row.message_hashes),
    ),
  );
  return { versions: rows, responseIds: rows.flatMap((row) => row.response_ids ?? []) };
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

/** Scenarios, groups, gate pairs and judge replies that were made of these trajectories, whoever's scenario they belong to. */
async function removeRollouts(
  trx: Kysely<Tables>,
  versions: readonly { id: string; version: number }[],
  nowMs: number,
  count: Count,
): Promise<Pick<ErasureWork, "objects" | "learned" | "batches" | "endedRuns">> {
  const scenarioIds = versions.map(scenarioIdOf);
  const sources = [...new Set([...versions.map(({ id }) => id), ...scenarioIds])].toSorted();
  await sql`insert into erased_sources (source, at_ms) select s, ${nowMs}::bigint from unnest(${sources}::text[]) as s on conflict do nothing`.execute(
    trx,
  );
  const objects = await sql<{ digest: Digest }>`
    delete from object_sources where digest in (select digest from object_sources where source = any(${sources}::text[])) returning digest`.execute(
    trx,
  );
  const digests = [...new Set(objects.rows.map(({ digest }) => digest))];
  const groups = await sql<{ run_id: string; iteration: number; verdict: string; body_digest: Digest }>`
    delete from groups where body_digest = any(${digests}::text[]) or scenario_id = any(${scenarioIds}::text[])
    returning run_id, iteration, summary ->> 'verdict' as verdict, body_digest`.execute(trx);
  count("groups", groups.rows.length);
  const scenarios = await sql`delete from scenarios where id = any(${scenarioIds}::text[])`.execute(trx);
  count("scenarios", Number(scenarios.numAffectedRows ?? 0));
  const pairs = await sql`
    delete from run_steps where step like 'gate-%' and split_part(step, '-', 2) = any(${scenarioIds}::text[])`.execute(trx);
  count("gate_pairs", Number(pairs.numAffectedRows ?? 0));
  const replies = await sql<{ cache_key: string }>`
    delete from judge_sources where cache_key in (select cache_key from judge_sources where source = any(${sources}::text[])) returning cache_key`.execute(
    trx,
  );
  const judged = await sql`
    delete from judge_results where cache_key = any(${[...new Set(replies.rows.map((row) => row.cache_key))]}::text[])`.execute(trx);
  count("judge_results", Number(judged.numAffectedRows ?? 0));
  const batches = await handedOver(
    trx,
    groups.rows.filter(({ verdict }) => verdict === "kept"),
  );
  const bodies = new Set([...digests, ...groups.rows.map((row) => row.body_digest)]);
  return { objects: [...bodies], learned: firstOfEachRun(batches), batches, endedRuns: await endRuns(trx, batches, nowMs) };
}

/** Of the iterations of these groups those whose batch was begun. */
async function handedOver(
  trx: Kysely<Tables>,
  groups: readonly { run_id: string; iteration: number }[],
): Promise<{ runId: string; iteration: number }[]> {
  const { rows } = await sql<{ run_id: string; iteration: number }>`
    select distinct g.run_id, g.iteration from unnest(${groups.map((group) => group.run_id)}::text[], ${groups.map((group) => group.iteration)}::bigint[]) as g(run_id, iteration)
    join run_steps s on s.run_id = g.run_id and s.step = 'batch-' || g.iteration order by 1, 2`.execute(trx);
  return rows.map((row) => ({ runId: row.run_id, iteration: row.iteration }));
}

function firstOfEachRun(groups: readonly { runId: string; iteration: number }[]): { runId: string; iteration: number }[] {
  const first = new Map<string, number>();
  for (const { runId, iteration } of groups) first.set(runId, Math.min(iteration, first.get(runId) ?? iteration));
  return [...first].map(([runId, iteration]) => ({ runId, iteration })).toSorted((a, b) => (a.runId < b.runId ? -1 : 1));
}

/** A night whose trainer may have read the subject is over; one that has not handed it over goes on without it. */
async function endRuns(trx: Kysely<Tables>, batches: readonly { runId: string; iteration: number }[], nowMs: number): Promise<string[]> {
  const ended: string[] = [];
  for (const runId of new Set(batches.map((batch) => batch.runId))) {
    const { code, message, fix } = nightshiftError("run_lost_subject", { run: runId });
    const outcome = JSON.stringify({ kind: "failed", code, message, fix });
    const { rows } = await sql<{ id: string }>`
      update runs set state = 'failed', outcome = ${outcome}::json, finished_at_ms = ${nowMs}
      where id = ${runId} and state = 'running' returning id`.execute(trx);
    ended.push(...rows.map(({ id }) => id));
  }
  return ended;
}

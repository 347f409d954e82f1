import { type Kysely, sql } from "kysely";
import type { Tables } from "../store/tables.ts";
import type { LogEvent, Span } from "../trace/span.ts";
import { betterKey, type ConversationKey, conversationId, isAnnouncement, isRoot, keyOf, traitsOf } from "./conversation-key.ts";
import { recordFeedbackEvents } from "./feedback-events.ts";
import { type Agents, matchAgent, UNKNOWN_AGENT } from "./match-agent.ts";
import { subjectsIn } from "./subject-key.ts";

export interface Arrivals {
  tenant: string;
  /** Only what is new or changed: a delivery of nothing new must not reopen a conversation. */
  spans: readonly Span[];
  logs: readonly LogEvent[];
  /** By the collector's clock. */
  receivedAtMs: number;
  /** By ours. */
  storedAtMs: number;
  agents: Agents;
}

interface TraceArrival {
  traceId: string;
  key: ConversationKey;
  agent: string;
  root: "unseen" | "ended" | "none_to_come";
}

/** `root_ended_ms` of a trace that holds nothing but the gateway's announcement: no root will ever end in it. */
const NONE_TO_COME = 0;

/**
 * Files spans and log events under their conversations, in the transaction that stores them: four statements for any usual request, seven when a
 * trace changes its conversation. A trace belongs to the conversation or session that any of its spans names; until one does, it is a conversation of its own.
 * A complete conversation opens again.
 *
 * Safe beside other workers in read committed: rows are locked before they decide anything, spans first, then traces, then conversations, each in the order of
 * their ids.
 */
export async function noteArrivals(trx: Kysely<Tables>, arrivals: Arrivals): Promise<void> {
  const traces = tracesOf(arrivals);
  if (traces.length === 0) return recordFeedbackEvents(trx, arrivals);
  await noteSubjects(trx, arrivals);
  const before = await lockTraces(trx, arrivals, traces);
  const filed = traces.map((trace) => {
    const left = before.get(trace.traceId);
    const key = left === undefined ? trace.key : betterKey(trace.key, left.key);
    const conversation = conversationId(arrivals.tenant, key);
    return { ...trace, key, conversation, left: left?.conversation ?? conversation };
  });
  const moved = filed.filter(({ left, conversation }) => left !== conversation);
  await upsertConversations(trx, arrivals, filed);
  if (moved.length > 0) await moveTraces(trx, arrivals, moved);
  // Last, when every row that it writes is locked and every other worker's traces of these conversations are in sight.
  await noteRootEnds(trx, [...new Set(filed.flatMap(({ conversation, left }) => [conversation, left]))]);
  await recordFeedbackEvents(trx, arrivals);
}

/** Whose the traces are, for erasure: an open conversation has no trajectory that would say. */
async function noteSubjects(trx: Kysely<Tables>, { tenant, spans, logs }: Arrivals): Promise<void> {
  const rows = new Map<string, { subject: string; traceId: string }>();
  for (const record of [...spans, ...logs]) {
    const { traceId } = record;
    if (traceId === null) continue;
    for (const subject of subjectsIn(record)) rows.set(`${subject}\0${traceId}`, { subject, traceId });
  }
  if (rows.size === 0) return;
  // Ordered, like all rows that several workers may write.
  const ordered = [...rows].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([, row]) => row);
  const [subjects, traces] = [ordered.map(({ subject }) => subject), ordered.map(({ traceId }) => traceId)];
  await sql`
    insert into trace_subjects (tenant, subject, trace_id)
    select ${tenant}, * from unnest(${subjects}::text[], ${traces}::text[]) on conflict do nothing`.execute(trx);
}

/** One entry per trace of the request, ordered by id so that two workers never wait for each other in a circle. */
function tracesOf({ tenant, spans, logs, agents }: Arrivals): TraceArrival[] {
  const traces = new Map<string, TraceArrival>();
  for (const record of [...spans, ...logs]) {
    if (record.traceId === null) continue;
    const trace = traces.get(record.traceId) ?? {
      traceId: record.traceId,
      key: { kind: "trace", key: record.traceId },
      agent: UNKNOWN_AGENT,
      root: "unseen",
    };
    traces.set(record.traceId, trace);
    const key = keyOf(record);
    if (key !== null) trace.key = betterKey(trace.key, key);
    if (trace.agent === UNKNOWN_AGENT) trace.agent = matchAgent(agents, tenant, traitsOf(record));
    if ("parentSpanId" in record && isRoot(record)) trace.root = "ended";
    else if ("parentSpanId" in record && isAnnouncement(record) && trace.root === "unseen") trace.root = "none_to_come";
  }
  return [...traces.values()].toSorted((a, b) => (a.traceId < b.traceId ? -1 : 1));
}

/**
 * Writes the traces' rows, which from here on belong to this transaction: another worker that has spans of the same trace waits, then finds the conversation
 * that we filed it under. Resolves to where the traces that were known before belong.
 */
async function lockTraces(
  trx: Kysely<Tables>,
  { tenant, storedAtMs }: Arrivals,
  traces: readonly TraceArrival[],
): Promise<Map<string, { conversation: string; key: ConversationKey }>> {
  const ids = traces.map(({ traceId }) => traceId);
  const filed = traces.map(({ key }) => conversationId(tenant, key));
  const ends = traces.map(({ root }) => (root === "ended" ? storedAtMs : root === "none_to_come" ? NONE_TO_COME : null));
  const { rows: locked } = await sql<{ trace_id: string; conversation_id: string }>`
    insert into conversation_traces (tenant, trace_id, conversation_id, root_ended_ms)
    select ${tenant}, * from unnest(${ids}::text[], ${filed}::text[], ${ends}::bigint[])
    on conflict (tenant, trace_id) do update set root_ended_ms = coalesce(conversation_traces.root_ended_ms, excluded.root_ended_ms)
    returning trace_id, conversation_id`.execute(trx);
  const conversations = [...new Set(locked.map((row) => row.conversation_id))];
  const { rows: keys } = await sql<{ id: string; key_kind: ConversationKey["kind"]; key: string }>`
    select id, key_kind, key from conversations where id = any(${conversations}::text[])`.execute(trx);
  const keyOfConversation = new Map(keys.map((row) => [row.id, { kind: row.key_kind, key: row.key } satisfies ConversationKey]));
  return new Map(
    locked.flatMap(({ trace_id, conversation_id }) => {
      const key = keyOfConversation.get(conversation_id);
      return key === undefined ? [] : [[trace_id, { conversation: conversation_id, key }]];
    }),
  );
}

/**
 * Quiet is measured from when something was stored, not from when it was received: the sweep's clock is ours. Measured from the collector's, everything would look idle the
 * moment it is stored, after an outage of ingest or with a clock behind ours, and half a conversation would be taken for whole.
 */
async function upsertConversations(
  trx: Kysely<Tables>,
  { tenant, receivedAtMs, storedAtMs }: Arrivals,
  filed: readonly { conversation: string; key: ConversationKey; agent: string }[],
): Promise<void> {
  const rows = new Map<string, { agent: string; key: ConversationKey }>();
  for (const { conversation, key, agent } of filed) {
    if ((rows.get(conversation)?.agent ?? UNKNOWN_AGENT) === UNKNOWN_AGENT) rows.set(conversation, { agent, key });
  }
  const values = [...rows].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const column = (of: (id: string, value: { agent: string; key: ConversationKey }) => string) => values.map(([id, value]) => of(id, value));
  const [ids, agents] = [column((id) => id), column((_, { agent }) => agent)];
  const [kinds, keys] = [column((_, { key }) => key.kind), column((_, { key }) => key.key)];
  // A collector whose clock is ahead would keep it from ever being old.
  const firstMs = Math.min(receivedAtMs, storedAtMs);
  await sql`
    insert into conversations (id, tenant, agent, key_kind, key, state, first_received_ms, last_received_ms, root_ended_ms, not_before_ms, version, arrivals)
    select id, ${tenant}, agent, kind, key, 'open', ${firstMs}::bigint, ${storedAtMs}::bigint, null, 0, 1, 1
    from unnest(${ids}::text[], ${agents}::text[], ${kinds}::text[], ${keys}::text[]) as c(id, agent, kind, key)
    on conflict (id) do update set
      agent = case when conversations.agent = ${UNKNOWN_AGENT} then excluded.agent else conversations.agent end,
      version = conversations.version + case when conversations.state = 'complete' then 1 else 0 end,
      state = 'open',
      first_received_ms = least(conversations.first_received_ms, excluded.first_received_ms),
      last_received_ms = greatest(conversations.last_received_ms, excluded.last_received_ms),
      not_before_ms = 0,
      arrivals = conversations.arrivals + 1`.execute(trx);
}

/**
 * A conversation's root has ended when that of each of its traces has (in a chat every turn is often a trace); without any trace left it has, too. One that
 * was only announced is still to begin.
 */
async function noteRootEnds(trx: Kysely<Tables>, ids: readonly string[]): Promise<void> {
  await trx
    .updateTable("conversations")
    .set({
      root_ended_ms: sql<number | null>`(
        select case when max(t.root_ended_ms) = ${NONE_TO_COME} then null when bool_and(t.root_ended_ms is not null) is not false then coalesce(max(t.root_ended_ms), conversations.last_received_ms) end
        from conversation_traces t where t.conversation_id = conversations.id)`,
    })
    .where(idIn(ids))
    .execute();
}

/**
 * Traces go to the conversation of their better key. The ones that they left are assembled again; one that lost its last trace yields nothing then, and what it
 * had is superseded.
 */
async function moveTraces(
  trx: Kysely<Tables>,
  { tenant, storedAtMs }: Arrivals,
  moved: readonly { traceId: string; conversation: string; left: string }[],
): Promise<void> {
  await sql`
    update conversation_traces set conversation_id = moved.conversation
    from unnest(${moved.map(({ traceId }) => traceId)}::text[], ${moved.map(({ conversation }) => conversation)}::text[]) as moved(trace_id, conversation)
    where conversation_traces.tenant = ${tenant} and conversation_traces.trace_id = moved.trace_id`.execute(trx);
  await sql`
    insert into former_conversations (tenant, trace_id, conversation_id)
    select ${tenant}, * from unnest(${moved.map(({ traceId }) => traceId)}::text[], ${moved.map(({ left }) => left)}::text[])
    on conflict do nothing`.execute(trx);
  await trx
    .updateTable("conversations")
    .set({
      version: sql`version + case when state = 'complete' then 1 else 0 end`,
      state: "open",
      last_received_ms: sql`greatest(last_received_ms, ${storedAtMs})`,
      not_before_ms: 0,
      arrivals: sql`arrivals + 1`,
    })
    .where(idIn([...new Set(moved.map(({ left }) => left))]))
    .execute();
}

/** One parameter, however many there are. */
function idIn(ids: readonly string[]) {
  return sql<boolean>`id = any(${ids}::text[])`;
}

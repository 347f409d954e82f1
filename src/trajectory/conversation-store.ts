import { type Kysely, sql } from "kysely";
import type { Tables } from "../store/tables.ts";
import type { LogEvent, Span } from "../trace/span.ts";
import { betterKey, type ConversationKey, conversationId, isAnnouncement, isRoot, keyOf, traitsOf } from "./conversation-key.ts";
import { recordFeedbackEvents } from "./feedback-events.ts";
import { type Agents, matchAgent, UNKNOWN_AGENT } from "./match-agent.ts";

export interface Arrivals {
  tenant: string;
  /** Only what is new or changed: a delivery of nothing new must not reopen a conversation. */
  spans: readonly Span[];
  logs: readonly LogEvent[];
  receivedAtMs: number;
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
 * Files spans and log events under their conversations, in the transaction that stores them: five statements for a request of any size. A trace belongs to the
 * conversation or session that any of its spans names; until one does, it is a conversation of its own. A complete conversation opens again.
 */
export async function noteArrivals(trx: Kysely<Tables>, arrivals: Arrivals): Promise<void> {
  const traces = tracesOf(arrivals);
  if (traces.length === 0) return recordFeedbackEvents(trx, arrivals);
  const known = await knownKeys(
    trx,
    arrivals.tenant,
    traces.map(({ traceId }) => traceId),
  );
  const filed = traces.map((trace) => {
    const before = known.get(trace.traceId);
    const key = before === undefined ? trace.key : betterKey(trace.key, before.key);
    return { ...trace, key, conversation: conversationId(arrivals.tenant, key), left: before?.conversation ?? null };
  });
  await upsertConversations(trx, arrivals, filed);
  await trx
    .insertInto("conversation_traces")
    .values(
      filed.map(({ traceId, conversation, root }) => ({
        tenant: arrivals.tenant,
        trace_id: traceId,
        conversation_id: conversation,
        root_ended_ms: root === "ended" ? arrivals.receivedAtMs : root === "none_to_come" ? NONE_TO_COME : null,
      })),
    )
    .onConflict((conflict) =>
      conflict.columns(["tenant", "trace_id"]).doUpdateSet((eb) => ({
        conversation_id: eb.ref("excluded.conversation_id"),
        root_ended_ms: sql`coalesce(conversation_traces.root_ended_ms, excluded.root_ended_ms)`,
      })),
    )
    .execute();
  const moved = filed.flatMap(({ left, conversation }) => (left === null || left === conversation ? [] : [left]));
  await noteRootEnds(trx, [...new Set([...filed.map(({ conversation }) => conversation), ...moved])]);
  if (moved.length > 0) await reopenLeft(trx, moved, arrivals.receivedAtMs);
  await recordFeedbackEvents(trx, arrivals);
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

async function knownKeys(trx: Kysely<Tables>, tenant: string, traceIds: readonly string[]) {
  const rows = await trx
    .selectFrom("conversation_traces as trace")
    .innerJoin("conversations as conversation", "conversation.id", "trace.conversation_id")
    .select(["trace.trace_id", "conversation.id", "conversation.key_kind", "conversation.key"])
    .where("trace.tenant", "=", tenant)
    .where("trace.trace_id", "in", traceIds)
    .execute();
  return new Map(
    rows.map((row) => [row.trace_id, { conversation: row.id, key: { kind: row.key_kind, key: row.key } satisfies ConversationKey }]),
  );
}

async function upsertConversations(
  trx: Kysely<Tables>,
  { tenant, receivedAtMs }: Arrivals,
  filed: readonly { conversation: string; key: ConversationKey; agent: string }[],
): Promise<void> {
  const rows = new Map<string, { agent: string; key: ConversationKey }>();
  for (const { conversation, key, agent } of filed) {
    if ((rows.get(conversation)?.agent ?? UNKNOWN_AGENT) === UNKNOWN_AGENT) rows.set(conversation, { agent, key });
  }
  const values = [...rows]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, { agent, key }]) => ({
      id,
      tenant,
      agent,
      key_kind: key.kind,
      key: key.key,
      state: "open" as const,
      first_received_ms: receivedAtMs,
      last_received_ms: receivedAtMs,
      root_ended_ms: null,
      not_before_ms: 0,
      version: 1,
      arrivals: 1,
    }));
  await trx
    .insertInto("conversations")
    .values(values)
    .onConflict((conflict) =>
      conflict.column("id").doUpdateSet({
        agent: sql`case when conversations.agent = ${UNKNOWN_AGENT} then excluded.agent else conversations.agent end`,
        version: sql`conversations.version + case when conversations.state = 'complete' then 1 else 0 end`,
        state: "open",
        first_received_ms: sql`least(conversations.first_received_ms, excluded.first_received_ms)`,
        last_received_ms: sql`greatest(conversations.last_received_ms, excluded.last_received_ms)`,
        not_before_ms: 0,
        arrivals: sql`conversations.arrivals + 1`,
      }),
    )
    .execute();
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
    .where("id", "in", ids)
    .execute();
}

/** Conversations that lost a trace to its better key are assembled again; one that lost its last trace yields nothing then, and what it had is superseded. */
async function reopenLeft(trx: Kysely<Tables>, ids: readonly string[], receivedAtMs: number): Promise<void> {
  await trx
    .updateTable("conversations")
    .set({
      version: sql`version + case when state = 'complete' then 1 else 0 end`,
      state: "open",
      last_received_ms: sql`greatest(last_received_ms, ${receivedAtMs})`,
      not_before_ms: 0,
      arrivals: sql`arrivals + 1`,
    })
    .where("id", "in", ids)
    .execute();
}

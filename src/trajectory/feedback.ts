import { type Kysely, sql } from "kysely";
import { insertable } from "../store/rows.ts";
import { indexableText, storableJson } from "../store/storable.ts";
import type { Tables } from "../store/tables.ts";
import type { Message } from "../trace/message.ts";
import { conversationId } from "./conversation-key.ts";
import { tombstoneHash, tombstonesAmong, type Buried } from "./tombstones.ts";

export const FEEDBACK_TARGETS = ["conversation", "trace", "span", "response", "subject"] as const;

/** A better answer than the recorded one, as canonical messages: the end of the transcript as it should have been. */
export interface Demonstration {
  demonstration: readonly Message[];
}

export type FeedbackValue = boolean | number | string | Demonstration;

/**
 * What somebody or something said about a conversation, a trace, a span (`trace id/span id`), a model's response or a subject (the customer's key, as spans
 * carry it). It selects and calibrates, and may bound the reward of attempts that are the same (`reward.feedback`).
 */
export interface Feedback {
  tenant: string;
  targetKind: (typeof FEEDBACK_TARGETS)[number];
  target: string;
  /** What is judged: `task_success`, `thumbs`. */
  name: string;
  /** Who judged: `user`, `api`, a judge's name. */
  source: string;
  value: FeedbackValue;
  explanation?: string;
  atMs: number;
}

const MAX_TEXT_LENGTH = 16_384;

/**
 * Records feedback, but for what is about somebody who was erased. Idempotent; of several on one (target, name, source) the latest by `atMs` stays, whatever the order of
 * arrival. Inside a transaction that holds erasures (store/erased-sources.ts).
 */
export async function recordFeedback(trx: Kysely<Tables>, feedback: readonly Feedback[]): Promise<void> {
  const kept = await withoutErased(trx, feedback);
  // One statement must not touch a row twice.
  const latest = new Map<string, ReturnType<typeof rowOf>>();
  for (const row of kept.toSorted((a, b) => a.atMs - b.atMs).map(rowOf)) {
    latest.set(JSON.stringify([row.tenant, row.target_kind, row.target, row.name, row.source]), row);
  }
  // Ordered, so that two writers of the same rows never wait for each other in a circle.
  const rows = [...latest].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([, row]) => row);
  for (const chunk of insertable(rows)) {
    await trx
      .insertInto("feedback")
      .values(chunk)
      .onConflict((conflict) =>
        conflict
          .columns(["tenant", "target_kind", "target", "name", "source"])
          .doUpdateSet((eb) => ({ value: eb.ref("excluded.value"), at_ms: eb.ref("excluded.at_ms") }))
          .whereRef("feedback.at_ms", "<=", "excluded.at_ms"),
      )
      .execute();
  }
}

async function withoutErased(trx: Kysely<Tables>, feedback: readonly Feedback[]): Promise<readonly Feedback[]> {
  const kept: Feedback[] = [];
  for (const [tenant, own] of Map.groupBy(feedback, (item) => item.tenant)) {
    const hash = await tombstoneHash(trx, tenant);
    const buried = await tombstonesAmong(trx, tenant, [...new Set(own.flatMap(graveOf).map(hash))]);
    // Who was erased and came back may be spoken of again.
    const isErased = (item: Feedback): boolean =>
      graveOf(item).some((grave) => {
        const atMs = buried.get(hash(grave));
        return atMs !== undefined && (grave.kind !== "subject" || item.atMs <= atMs);
      });
    kept.push(...(buried.size === 0 ? own : own.filter((item) => !isErased(item))));
  }
  return kept;
}

/** Where a target would be buried. A conversation may be named by its id or by a key of any kind. */
function graveOf({ tenant, targetKind, target }: Feedback): Buried[] {
  if (targetKind === "span") return [{ kind: "trace", id: target.split("/")[0] ?? "" }];
  if (targetKind !== "conversation") return [{ kind: targetKind, id: targetKind === "trace" ? target : indexableText(target) }];
  const keys = (["conversation", "session", "trace"] as const).map((kind) => conversationId(tenant, { kind, key: target }));
  return [target, ...keys].map((id) => ({ kind: "conversation", id }));
}

type FeedbackRow = Omit<Tables["feedback"], "value"> & { conversation_id: string; value: { value: FeedbackValue; explanation?: string } };

function rowOf({ tenant, targetKind, target, name, source, value, explanation, atMs }: Feedback) {
  return {
    tenant,
    target_kind: targetKind,
    target: indexableText(target),
    name: indexableText(name),
    source: indexableText(source),
    value: storableJson({
      value: typeof value === "string" ? value.slice(0, MAX_TEXT_LENGTH) : value,
      ...(explanation === undefined ? {} : { explanation: explanation.slice(0, MAX_TEXT_LENGTH) }),
    }),
    at_ms: atMs,
  };
}

/**
 * All feedback on these conversations, by conversation id, oldest first: what names the conversation (by id or key), one of its traces, one of its spans, one
 * of its responses, or its subject. What is said of a subject is said of the conversations that had begun by then. Joined when asked, because feedback is late
 * by days.
 */
export async function feedbackOf(db: Kysely<Tables>, tenant: string, conversationIds: readonly string[]): Promise<Map<string, Feedback[]>> {
  const byConversation = new Map(conversationIds.map((id) => [id, [] as Feedback[]]));
  if (conversationIds.length === 0) return byConversation;
  const rows = await sql<FeedbackRow>`
    with asked as (select id, key from conversations where tenant = ${tenant} and id = any(${conversationIds}::text[])),
    targets as (
      select id as conversation_id, 'conversation' as kind, id as target from asked
      union select id, 'conversation', key from asked
      union select t.conversation_id, 'trace', t.trace_id from conversation_traces t join asked on asked.id = t.conversation_id
      union select t.conversation_id, 'span', t.trace_id || '/' || s.span_id from conversation_traces t
        join asked on asked.id = t.conversation_id join spans s on s.tenant = t.tenant and s.trace_id = t.trace_id
      union select j.conversation_id, 'response', r.value from trajectories j join asked on asked.id = j.conversation_id,
        json_array_elements_text(j.body -> 'responseIds') as r(value) where not j.superseded),
    subjects as (
      select j.conversation_id, j.subject as target, min(j.started_at_ms) as began_at_ms from trajectories j join asked on asked.id = j.conversation_id
      where j.subject is not null and not j.superseded group by j.conversation_id, j.subject)
    select targets.conversation_id, f.* from feedback f
    join targets on f.target_kind = targets.kind and f.target = targets.target
    where f.tenant = ${tenant}
    union all
    select subjects.conversation_id, f.* from feedback f
    join subjects on f.target_kind = 'subject' and f.target = subjects.target and f.at_ms >= subjects.began_at_ms
    where f.tenant = ${tenant} order by at_ms, name, source`.execute(db);
  for (const row of rows.rows) {
    byConversation.get(row.conversation_id)?.push({
      tenant: row.tenant,
      targetKind: row.target_kind,
      target: row.target,
      name: row.name,
      source: row.source,
      atMs: row.at_ms,
      ...row.value,
    });
  }
  return byConversation;
}

import { type Kysely, type Selectable, sql } from "kysely";
import type { Config } from "../config.ts";
import type { Tables } from "../store/tables.ts";

export type DueConversation = Selectable<Tables["conversations"]> & {
  /** Of its stored spans; null without one. */
  bytes: number | null;
};

/**
 * What a worker that was killed had taken is looked at again after so long. Work that takes longer may be done twice, which costs the work: a conversation is closed
 * once, whoever comes to it.
 */
const CLAIM_MS = 10_000;

/**
 * Takes up to `limit` conversations with ids after `after` that may be complete, in the order of their ids, so that other workers that sweep meanwhile take others: else all would assemble the same
 * ones, and one of them in vain. A delivery gives a conversation free; so do closing and postponing it, and `giveBackDue`.
 *
 * What is asked here is the cheap part of `completionOf`: whether a tool call dangles shows only in the spans.
 */
export async function takeDue(
  db: Kysely<Tables>,
  { nowMs, after, limit, limits }: { nowMs: number; after: string; limit: number; limits: Config["capture"] },
): Promise<DueConversation[]> {
  const { rows } = await sql<DueConversation>`
    with due as (
      select c.id from conversations c
      where c.state = 'open' and c.not_before_ms <= ${nowMs} and c.id > ${after} and (
        greatest(c.root_ended_ms, c.last_received_ms) <= case when c.root_ended_ms is null then -1 else ${nowMs - limits.graceMs}::bigint end
        or c.last_received_ms <= ${nowMs - limits.idleMs} or c.first_received_ms <= ${nowMs - limits.maxAgeMs})
      order by c.id limit ${limit} for update skip locked)
    update conversations c set not_before_ms = ${nowMs + CLAIM_MS}::bigint from due where c.id = due.id
    returning c.*, (
      select sum(octet_length(s.raw))::bigint from conversation_traces t join spans s on s.tenant = t.tenant and s.trace_id = t.trace_id
      where t.conversation_id = c.id) as bytes`.execute(db);
  // Ids are hexadecimal: the database orders them as we do.
  return rows.toSorted((one, other) => (one.id < other.id ? -1 : 1));
}

/** What was taken and not got to is there for the next sweep, anybody's; nothing of it has changed hands or been written meanwhile. */
export async function giveBackDue(db: Kysely<Tables>, taken: readonly DueConversation[]): Promise<void> {
  const [ids, claims] = [taken.map(({ id }) => id), taken.map((conversation) => conversation.not_before_ms)];
  await sql`
    update conversations c set not_before_ms = 0 from unnest(${ids}::text[], ${claims}::bigint[]) as t(id, claim)
    where c.id = t.id and c.not_before_ms = t.claim and c.state = 'open'`.execute(db);
}

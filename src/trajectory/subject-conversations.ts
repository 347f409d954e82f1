import { type Kysely, sql } from "kysely";
import type { Tables } from "../store/tables.ts";

/** A conversation that names nobody is a subject of its own. */
const UNNAMED = "conversation:";

/**
 * The conversations of a subject: those that its trajectories or its spans say, open ones too, and those that its traces have left and nobody else's are in.
 */
export async function conversationsOf(db: Kysely<Tables>, tenant: string, subjects: readonly string[]): Promise<string[]> {
  const named = subjects.filter((subject) => subject.startsWith(UNNAMED)).map((subject) => subject.slice(UNNAMED.length));
  const { rows } = await sql<{ id: string }>`
    with filed as (
      select conversation_id as id from trajectories where tenant = ${tenant} and subject = any(${subjects}::text[])
      union select t.conversation_id from trace_subjects s join conversation_traces t on t.tenant = s.tenant and t.trace_id = s.trace_id
        where s.tenant = ${tenant} and s.subject = any(${subjects}::text[])
      union select id from conversations where tenant = ${tenant} and id = any(${named}::text[]))
    select id from filed
    union select f.conversation_id from filed join conversation_traces t on t.conversation_id = filed.id
      join former_conversations f on f.tenant = t.tenant and f.trace_id = t.trace_id
      where not exists (select 1 from conversation_traces o where o.conversation_id = f.conversation_id)
    order by id`.execute(db);
  return rows.map(({ id }) => id);
}

/** Of these conversations how many name somebody else, too: whoever they are, a conversation is erased whole. */
export async function sharedAmong(
  db: Kysely<Tables>,
  { tenant, subjects, conversationIds }: { tenant: string; subjects: readonly string[]; conversationIds: readonly string[] },
): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(distinct t.conversation_id)::int as count from conversation_traces t
    join trace_subjects s on s.tenant = t.tenant and s.trace_id = t.trace_id
    where t.tenant = ${tenant} and t.conversation_id = any(${conversationIds}::text[]) and s.subject <> all(${subjects}::text[])`.execute(
    db,
  );
  return rows[0]?.count ?? 0;
}

/** Traces of these conversations, and those that name one of the subjects. */
export async function tracesToErase(
  db: Kysely<Tables>,
  { tenant, subjects, conversationIds }: { tenant: string; subjects: readonly string[]; conversationIds: readonly string[] },
): Promise<string[]> {
  const { rows } = await sql<{ trace_id: string }>`
    select trace_id from conversation_traces where tenant = ${tenant} and conversation_id = any(${conversationIds}::text[])
    union select trace_id from trace_subjects where tenant = ${tenant} and subject = any(${subjects}::text[])`.execute(db);
  return rows.map((row) => row.trace_id);
}

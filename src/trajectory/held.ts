import { type Kysely, sql } from "kysely";
import type { Tables } from "../store/tables.ts";

/** How much is stored of these conversations, by kind. */
export async function heldOf(
  db: Kysely<Tables>,
  { tenant, subjects, conversationIds }: { tenant: string; subjects: readonly string[]; conversationIds: readonly string[] },
): Promise<Record<string, number>> {
  const { rows } = await sql<Record<string, number>>`
    with traces as (
      select trace_id from conversation_traces where tenant = ${tenant} and conversation_id = any(${conversationIds}::text[])
      union select trace_id from trace_subjects where tenant = ${tenant} and subject = any(${subjects}::text[]))
    select
      (select count(*)::int from conversations where tenant = ${tenant} and id = any(${conversationIds}::text[])) as conversations,
      (select count(*)::int from trajectories where tenant = ${tenant} and conversation_id = any(${conversationIds}::text[])) as trajectories,
      (select count(*)::int from spans where tenant = ${tenant} and trace_id in (select trace_id from traces)) as spans,
      (select count(*)::int from log_events where tenant = ${tenant} and trace_id in (select trace_id from traces)) as log_events,
      (select count(*)::int from groups where body_digest in (
        select digest from object_sources where source in (
          select id from trajectories where tenant = ${tenant} and conversation_id = any(${conversationIds}::text[])))) as groups`.execute(
    db,
  );
  return rows[0] ?? {};
}

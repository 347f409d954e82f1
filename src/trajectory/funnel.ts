import { type Kysely, sql } from "kysely";
import type { Tables } from "../store/tables.ts";
import type { Reason } from "./trajectory.ts";

/** Conversations by how far they came. `captured` ≥ `complete` ≥ `trainable`. */
export interface Funnel {
  captured: number;
  complete: number;
  /** At least one of its trajectories can teach. */
  trainable: number;
  /** Of the complete ones that cannot, how many have this reason; one conversation may have several. */
  reasons: Partial<Record<Reason, number>>;
}

/** Counts conversations. Traces in which nobody called a model are not conversations and count nowhere once they are complete. */
export async function funnelOf(db: Kysely<Tables>, filter: { tenant: string; agent?: string; sinceMs?: number }): Promise<Funnel> {
  const agent = filter.agent ?? null;
  const sinceMs = filter.sinceMs ?? 0;
  const scope = sql`
    with scope as (
      select c.state, bool_or(t.trainable) as trainable, count(t.id) as trajectories, json_agg(t.reasons) as reasons
      from conversations c left join trajectories t on t.conversation_id = c.id and not t.superseded
      where c.tenant = ${filter.tenant} and (${agent}::text is null or c.agent = ${agent}) and c.last_received_ms >= ${sinceMs}
      group by c.id)`;
  const counts = await sql<{ captured: number; complete: number; trainable: number }>`${scope}
    select count(*) filter (where state = 'open' or trajectories > 0) as captured,
      count(*) filter (where state = 'complete' and trajectories > 0) as complete,
      count(*) filter (where state = 'complete' and trainable) as trainable
    from scope`.execute(db);
  const reasons = await sql<{ reason: Reason; conversations: number }>`${scope},
    lacking as (select row_number() over () as conversation, reasons from scope where state = 'complete' and trajectories > 0 and not trainable)
    select reason, count(distinct conversation) as conversations
    from lacking, json_array_elements(lacking.reasons) as per(list), json_array_elements_text(per.list) as one(reason)
    group by reason order by reason`.execute(db);
  const [row] = counts.rows;
  return {
    captured: row?.captured ?? 0,
    complete: row?.complete ?? 0,
    trainable: row?.trainable ?? 0,
    reasons: Object.fromEntries(reasons.rows.map(({ reason, conversations }) => [reason, conversations])),
  };
}

import { type Kysely, sql } from "kysely";
import type { Tables } from "../store/tables.ts";

/** A finished run of an agent whose candidate has not been submitted: its gate is still to be played, on what it pinned. Only the newest is ever gated. */
const awaitsGate = sql<boolean>`(
  r.state = 'finished' and r.outcome ->> 'kind' = 'candidate' and not exists (select 1 from experiments e where e.id = r.id)
  and not exists (select 1 from runs n where n.tenant = r.tenant and n.agent = r.agent and n.state = 'finished' and n.started_at_ms > r.started_at_ms))`;

/** Runs that are not through: nothing of theirs may go, whatever its age. */
export async function unfinishedRuns(db: Kysely<Tables>, tenant: string): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select r.id from runs r where r.tenant = ${tenant} and (r.state = 'running' or ${awaitsGate}
      or exists (select 1 from experiments e where e.id = r.id and e.ended_at_ms is null))
    order by r.id`.execute(db);
  return rows.map(({ id }) => id);
}

/** Conversations that such a run pinned, or that are units of a live canary. */
export async function neededConversations(db: Kysely<Tables>, tenant: string): Promise<string[]> {
  const runs = await unfinishedRuns(db, tenant);
  const { rows } = await sql<{ id: string }>`
    select j.conversation_id as id from run_steps s, json_array_elements(s.output -> 'trajectories') as p(pin)
      join trajectories j on j.id = p.pin ->> 'id'
      where s.run_id = any(${runs}::text[]) and s.step = 'select' and s.output is not null and j.tenant = ${tenant}
    union select j.conversation_id from trajectories j join experiments e on e.id = j.experiment_id
      where j.tenant = ${tenant} and e.ended_at_ms is null`.execute(db);
  return rows.map(({ id }) => id);
}

/** Adapters by name that somebody may ask for: of routes, of experiments that go on, wanted ones, and those of unfinished runs. */
export async function namedAdapters(db: Kysely<Tables>): Promise<Set<string>> {
  const { rows } = await sql<{ name: string | null }>`
    select body -> 'stable' ->> 'name' as name from routes
    union select body -> 'candidate' ->> 'name' from routes
    union select body -> 'candidate' ->> 'name' from experiments where ended_at_ms is null
    union select body -> 'stable' ->> 'name' from experiments where ended_at_ms is null
    union select a.name from adapters a join runs r on r.id = a.run_id where r.state = 'running' or ${awaitsGate}
    union select w.adapter ->> 'name' from settings, json_array_elements(value -> 'adapters') as w(adapter) where key like 'desired_adapters:%'`.execute(
    db,
  );
  return new Set(rows.flatMap(({ name }) => name ?? []));
}

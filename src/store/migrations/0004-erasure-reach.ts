import { type Kysely, type Migration, sql } from "kysely";

/**
 * What an erasure has to find that was not written down: where traces were filed before, and media before they are stored. `trajectory_media` stays until no process of an older
 * version can run beside this one.
 */
const UP = `
create table former_conversations (
  tenant text not null, trace_id text not null, conversation_id text not null,
  primary key (tenant, trace_id, conversation_id));
create index former_conversations_of_conversation on former_conversations (conversation_id);
create table conversation_media (
  conversation_id text not null, digest text not null, tenant text not null,
  primary key (conversation_id, digest));
create index conversation_media_of_digest on conversation_media (digest);
insert into conversation_media
  select distinct coalesce(t.conversation_id, ''), m.digest, m.tenant
  from trajectory_media m left join trajectories t on t.id = m.trajectory_id and t.version = m.version
  on conflict do nothing;
delete from messages m where not exists (select 1 from trajectories t where t.message_hashes @> jsonb_build_array(m.hash));
create index claims_of_digest on claims (digest);
create index feedback_of_span on feedback (tenant, split_part(target, '/', 1)) where target_kind = 'span';
delete from judge_results r where not exists (select 1 from judge_sources s where s.cache_key = r.cache_key);
insert into object_sources (digest, source, run_id, at_ms)
  select distinct g.body_digest, source, g.run_id, r.started_at_ms from groups g join runs r on r.id = g.run_id
  left join scenarios s on s.run_id = g.run_id and s.id = g.scenario_id,
  unnest(array[g.scenario_id, s.body ->> 'trajectoryId']) as source
  where source is not null and not exists (select 1 from object_sources o where o.digest = g.body_digest)
  on conflict do nothing`;

const DOWN = `
insert into trajectory_media
  select distinct m.digest, t.id, t.version, t.tenant from conversation_media m join trajectories t on t.conversation_id = m.conversation_id,
  json_array_elements_text(t.body -> 'media') as named where named = m.digest on conflict do nothing;
drop table conversation_media;
drop table former_conversations;
drop index claims_of_digest;
drop index feedback_of_span`;

export const erasureReach: Migration = {
  up: async (kysely: Kysely<never>) => {
    for (const statement of UP.split(";")) await sql.raw(statement).execute(kysely);
  },
  down: async (kysely: Kysely<never>) => {
    for (const statement of DOWN.split(";")) await sql.raw(statement).execute(kysely);
  },
};

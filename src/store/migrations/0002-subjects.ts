import { type Kysely, type Migration, sql } from "kysely";

/** What erasure and retention need to know: whose a trace is, what was made of whom, what must not come back. */
const UP = `
create table trace_subjects (
  tenant text not null, subject text not null, trace_id text not null,
  primary key (tenant, subject, trace_id));
create index trace_subjects_of_trace on trace_subjects (tenant, trace_id);
create table claims (
  tenant text not null, digest text not null, trace_id text not null, received_at_ms bigint not null, deleted_at_ms bigint,
  primary key (tenant, digest, trace_id));
create index claims_of_trace on claims (tenant, trace_id);
create index claims_by_time on claims (tenant, received_at_ms) where deleted_at_ms is null;
create table object_sources (
  digest text not null, source text not null, run_id text not null, at_ms bigint not null,
  primary key (digest, source));
create index object_sources_of_source on object_sources (source);
create index object_sources_of_run on object_sources (run_id);
create table judge_sources (
  cache_key text not null, source text not null,
  primary key (cache_key, source));
create index judge_sources_of_source on judge_sources (source);
create table tombstones (
  tenant text not null, hash text not null, at_ms bigint not null,
  primary key (tenant, hash));
create table erased_sources (source text primary key, at_ms bigint not null);
create table erasures (
  id text primary key, tenant text not null, subject_hash text not null, state text not null, actor text not null,
  started_at_ms bigint not null, finished_at_ms bigint, body json not null);
create index erasures_unfinished on erasures (started_at_ms) where state <> 'compacted';
create index erasures_of_subject on erasures (tenant, subject_hash);
create index trajectories_of_message on trajectories using gin (message_hashes);
create index trajectories_by_end on trajectories (tenant, ended_at_ms);
create index conversations_by_time on conversations (tenant, last_received_ms);
create index spans_by_time on spans (tenant, received_at_ms);
create index log_events_by_time on log_events (tenant, received_at_ms);
create index judge_results_by_time on judge_results (created_at_ms);
create index groups_of_body on groups (body_digest);
create index groups_of_scenario on groups (scenario_id)`;

const TABLES = ["trace_subjects", "claims", "object_sources", "judge_sources", "tombstones", "erased_sources", "erasures"];
const INDEXES = [
  "trajectories_of_message",
  "trajectories_by_end",
  "conversations_by_time",
  "spans_by_time",
  "log_events_by_time",
  "judge_results_by_time",
  "groups_of_body",
  "groups_of_scenario",
];

/** The scenarios of an iteration were kept whole in its step, beside their own table: text in two places is text that one erasure forgets. */
const SCENARIOS_BY_ID = `
update run_steps set output = json_build_object('scenarioIds', (
  select coalesce(json_agg(s ->> 'id'), '[]'::json) from json_array_elements(output -> 'scenarios') as s))
where step like 'scenarios-%' and output -> 'scenarios' is not null`;

/** The older version reads whole scenarios: they are put back from their table. */
const SCENARIOS_WHOLE = `
update run_steps set output = json_build_object('scenarios', (
  select coalesce(json_agg(s.body), '[]'::json) from json_array_elements_text(output -> 'scenarioIds') as i(id)
  join scenarios s on s.run_id = run_steps.run_id and s.id = i.id))
where step like 'scenarios-%' and output -> 'scenarioIds' is not null`;

/** Whose the traces are that came before is known as far as they were assembled. */
const KNOWN_SUBJECTS = `
insert into trace_subjects (tenant, subject, trace_id)
select distinct j.tenant, j.subject, t.trace_id from trajectories j join conversation_traces t on t.conversation_id = j.conversation_id
where j.subject is not null`;

export const subjects: Migration = {
  up: async (kysely: Kysely<never>) => {
    for (const statement of [...UP.split(";"), SCENARIOS_BY_ID, KNOWN_SUBJECTS]) await sql.raw(statement).execute(kysely);
  },
  down: async (kysely: Kysely<never>) => {
    await sql.raw(SCENARIOS_WHOLE).execute(kysely);
    for (const name of INDEXES) await sql.raw(`drop index ${name}`).execute(kysely);
    for (const name of TABLES) await sql.raw(`drop table ${name}`).execute(kysely);
  },
};

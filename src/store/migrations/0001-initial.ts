import { type Kysely, type Migration, sql } from "kysely";

/** All tables of the first release. Types follow tables.ts: epoch milliseconds are bigint, documents json, what SQL looks into jsonb. */
const TABLES = `
create table spans (
  tenant text not null, trace_id text not null, span_id text not null, raw bytea not null, received_at_ms bigint not null,
  primary key (tenant, trace_id, span_id));
create table log_events (
  tenant text not null, hash text not null, trace_id text, span_id text, raw bytea not null, received_at_ms bigint not null,
  primary key (tenant, hash));
create index log_events_of_trace on log_events (tenant, trace_id);

create table conversations (
  id text primary key, tenant text not null, agent text not null, key_kind text not null, key text not null, state text not null,
  first_received_ms bigint not null, last_received_ms bigint not null, root_ended_ms bigint, not_before_ms bigint not null default 0,
  version bigint not null, arrivals bigint not null default 1);
create index conversations_open on conversations (last_received_ms) where state = 'open';
create index conversations_of_agent on conversations (tenant, agent, last_received_ms);
create index conversations_by_key on conversations (tenant, key);
create table conversation_traces (
  tenant text not null, trace_id text not null, conversation_id text not null, root_ended_ms bigint,
  primary key (tenant, trace_id));
create index conversation_traces_of_conversation on conversation_traces (conversation_id);

create table messages (hash text primary key, body json not null);
create table trajectories (
  id text not null, version bigint not null, conversation_id text not null, conversation_key text not null, tenant text not null,
  agent text not null, subject text, started_at_ms bigint not null, ended_at_ms bigint not null, adapter_digest text, experiment_id text,
  content_hash text not null, message_hashes jsonb not null, body json not null, trainable boolean not null, reasons jsonb not null,
  superseded boolean not null,
  primary key (id, version));
create index trajectories_of_conversation on trajectories (conversation_id);
create index trajectories_of_agent on trajectories (tenant, agent, ended_at_ms desc) where not superseded;
create index trajectories_of_subject on trajectories (tenant, subject) where subject is not null;
create index trajectories_of_experiment on trajectories (experiment_id, ended_at_ms) where experiment_id is not null;
create index trajectories_of_adapter on trajectories (adapter_digest) where adapter_digest is not null;
create table feedback (
  tenant text not null, target_kind text not null, target text not null, name text not null, source text not null, value json not null,
  at_ms bigint not null,
  primary key (tenant, target_kind, target, name, source));
create index feedback_by_time on feedback (tenant, at_ms);
create table tool_schemas (
  tenant text not null, agent text not null, tool text not null, schema_hash text not null, definition json not null,
  last_seen_ms bigint not null,
  primary key (tenant, agent, tool, schema_hash));

create table runs (
  id text primary key, tenant text not null, agent text not null, state text not null, started_at_ms bigint not null,
  finished_at_ms bigint, plan json not null, outcome json);
create unique index runs_one_running on runs (tenant, agent) where state = 'running';
create index runs_of_agent on runs (tenant, agent, started_at_ms desc);
create table run_steps (
  run_id text not null, step text not null, started_at_ms bigint not null, finished_at_ms bigint, output json,
  primary key (run_id, step));
create table scenarios (run_id text not null, id text not null, split text not null, body json not null, primary key (run_id, id));
create table groups (
  id text primary key, run_id text not null, iteration bigint not null, scenario_id text not null, body_digest text not null,
  summary json not null);
create index groups_of_run on groups (run_id, iteration);
create table judge_results (cache_key text primary key, body json not null, created_at_ms bigint not null);

create table adapters (
  digest text primary key, name text not null unique, number bigint not null, tenant text not null, agent text not null,
  run_id text not null, iteration bigint not null, parent_digest text, manifest json not null, created_at_ms bigint not null,
  unique (tenant, agent, number), unique (run_id, iteration));
create table attestations (
  digest text not null, replica text not null, instance text not null, decision json not null, at_ms bigint not null,
  primary key (digest, replica));
create table experiments (
  id text primary key, tenant text not null, agent text not null, candidate_digest text not null, stable_digest text not null,
  state text not null, generation bigint not null, body json not null, created_at_ms bigint not null, ended_at_ms bigint);
create index experiments_of_agent on experiments (tenant, agent, created_at_ms desc);
create table evidence (
  experiment_id text not null, seq bigint not null, kind text not null, body json not null, at_ms bigint not null,
  primary key (experiment_id, seq));
create table routes (agent text primary key, version bigint not null, generation bigint not null, body json not null);
create table audit (
  id bigint generated always as identity primary key, at_ms bigint not null, actor text not null, action text not null,
  subject text not null, body json not null);
create table settings (key text primary key, value json not null)`;

/** Evidence and audit can be added to, never rewritten: a decision must be provable from what it was taken on. */
const APPEND_ONLY = [
  `create function refuse_rewrite() returns trigger language plpgsql as $$
     begin raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation'; end $$`,
  `create trigger evidence_append_only before update or delete or truncate on evidence for each statement execute function refuse_rewrite()`,
  `create trigger audit_append_only before update or delete or truncate on audit for each statement execute function refuse_rewrite()`,
];

const NAMES = TABLES.match(/(?<=create table )\w+/g) ?? [];

export const initial: Migration = {
  up: async (kysely: Kysely<never>) => {
    for (const statement of [...TABLES.split(";"), ...APPEND_ONLY]) await sql.raw(statement).execute(kysely);
  },
  down: async (kysely: Kysely<never>) => {
    for (const name of NAMES) await sql.raw(`drop table ${name}`).execute(kysely);
    await sql.raw("drop function refuse_rewrite()").execute(kysely);
  },
};

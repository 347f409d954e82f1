import { type Kysely, type Migration, sql } from "kysely";

/** Whether a judge can be trusted: its calibrations, and what the rewards of a run seem to pay for beside the task. Neither table holds what anybody said. */
const UP = `
create table judge_calibrations (
  id text primary key, tenant text not null, agent text not null, identity text not null, body json not null, created_at_ms bigint not null);
create index judge_calibrations_of_agent on judge_calibrations (tenant, agent, created_at_ms desc);
create table alarms (
  run_id text not null, id text not null, tenant text not null, agent text not null, body json not null, raised_at_ms bigint not null,
  acknowledged_at_ms bigint, acknowledged_by text, reason text,
  primary key (run_id, id));
create index alarms_of_agent on alarms (tenant, agent, raised_at_ms desc)`;

const DOWN = `
drop table alarms;
drop table judge_calibrations`;

export const judgeTrust: Migration = {
  up: async (kysely: Kysely<never>) => {
    for (const statement of UP.split(";")) await sql.raw(statement).execute(kysely);
  },
  down: async (kysely: Kysely<never>) => {
    for (const statement of DOWN.split(";")) await sql.raw(statement).execute(kysely);
  },
};

import { type Kysely, type Migration, sql } from "kysely";

/** What a run has asked its judges for, so that a budget goes on being counted after a restart. */
export const judgeSpending: Migration = {
  up: async (kysely: Kysely<never>) => {
    await sql
      .raw(
        `create table judge_spending (
           run_id text not null, role text not null, model text not null,
           input_tokens bigint not null default 0, output_tokens bigint not null default 0, cost double precision not null default 0,
           reserved_tokens bigint not null default 0, reserved_cost double precision not null default 0,
           refused bigint not null default 0, max_tokens bigint not null, max_cost double precision,
           primary key (run_id, role))`,
      )
      .execute(kysely);
  },
  down: async (kysely: Kysely<never>) => {
    await sql.raw("drop table judge_spending").execute(kysely);
  },
};

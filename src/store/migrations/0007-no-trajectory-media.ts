import { type Kysely, type Migration, sql } from "kysely";

/** Nothing has read or written `trajectory_media` since 0004, and so no erasure took a row of it: whose media there are is in `conversation_media`. On the way back 0004 fills it again. */
export const noTrajectoryMedia: Migration = {
  up: async (kysely: Kysely<never>) => {
    await sql.raw("drop table trajectory_media").execute(kysely);
  },
  down: async (kysely: Kysely<never>) => {
    await sql
      .raw(
        `create table trajectory_media (
           digest text not null, trajectory_id text not null, version bigint not null, tenant text not null,
           primary key (digest, trajectory_id, version))`,
      )
      .execute(kysely);
    await sql.raw("create index trajectory_media_of_trajectory on trajectory_media (trajectory_id, version)").execute(kysely);
  },
};

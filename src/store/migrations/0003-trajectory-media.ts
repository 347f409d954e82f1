import { type Kysely, type Migration, sql } from "kysely";

/** Which objects of the artifact store a trajectory's messages refer to: images and sounds, by digest. Erasure and retention find them here. */
export const trajectoryMedia: Migration = {
  up: async (kysely: Kysely<never>) => {
    await sql
      .raw(
        `create table trajectory_media (
           digest text not null, trajectory_id text not null, version bigint not null, tenant text not null,
           primary key (digest, trajectory_id, version))`,
      )
      .execute(kysely);
    await sql.raw("create index trajectory_media_of_trajectory on trajectory_media (trajectory_id, version)").execute(kysely);
  },
  down: async (kysely: Kysely<never>) => {
    await sql.raw("drop table trajectory_media").execute(kysely);
  },
};

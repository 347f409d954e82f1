import { type Kysely, sql } from "kysely";
import type { Digest } from "../artifact/artifact-store.ts";
import type { Tables } from "../store/tables.ts";

/** Forgets what erased trajectories referred to. Resolves to the objects that no other trajectory refers to. */
export async function dropMedia(trx: Kysely<Tables>, versions: readonly { id: string; version: number }[]): Promise<Digest[]> {
  const dropped = await sql<{ digest: Digest }>`
    delete from trajectory_media m
    using unnest(${versions.map(({ id }) => id)}::text[], ${versions.map(({ version }) => version)}::bigint[]) as v(id, version)
    where m.trajectory_id = v.id and m.version = v.version returning m.digest`.execute(trx);
  const digests = [...new Set(dropped.rows.map(({ digest }) => digest))];
  const { rows } = await sql<{ digest: Digest }>`
    select d as digest from unnest(${digests}::text[]) as d
    where not exists (select 1 from trajectory_media m where m.digest = d)`.execute(trx);
  return rows.map(({ digest }) => digest);
}

import { type Kysely, sql } from "kysely";
import type { Tables } from "./tables.ts";

/** Who leads, in the database: what the other replicas, the gateways' leases and `nightshift status` go by. */
export interface LeaderRecord {
  /** Grows with every term of any process; a write that names an older one changes nothing. */
  epoch: number;
  /** Of the process. */
  name: string;
  sinceMs: number;
  /** Grows while the leader lives. */
  beat: number;
  /** By agent, how often its promotion was looked at in this term: a number that stands still says that nobody watches that canary. */
  turns: Record<string, number>;
}

const KEY = "leader";

/** Begins a term and ends everybody else's. Resolves to its epoch. */
export async function takeTerm(db: Kysely<Tables>, { name, nowMs }: { name: string; nowMs: number }): Promise<number> {
  const { rows } = await sql<{ epoch: number }>`
    insert into settings (key, value)
    values (${KEY}, json_build_object('epoch', 1, 'name', ${name}::text, 'sinceMs', ${nowMs}::bigint, 'beat', 0, 'turns', json_build_object()))
    on conflict (key) do update set value = json_build_object(
      'epoch', (settings.value ->> 'epoch')::bigint + 1, 'name', ${name}::text, 'sinceMs', ${nowMs}::bigint, 'beat', 0, 'turns', json_build_object())
    returning (value ->> 'epoch')::bigint as epoch`.execute(db);
  const [row] = rows;
  if (row === undefined) throw new Error("an upsert returned no row");
  return row.epoch;
}

/** Says that the leader of `epoch` lives and what it has looked at. False: another term has begun since, and nothing was written. */
export async function beatTerm(db: Kysely<Tables>, epoch: number, turns: Readonly<Record<string, number>>): Promise<boolean> {
  const { rows } = await sql`
    update settings set value = json_build_object(
      'epoch', ${epoch}::bigint, 'name', value ->> 'name', 'sinceMs', (value ->> 'sinceMs')::bigint,
      'beat', (value ->> 'beat')::bigint + 1, 'turns', ${JSON.stringify(turns)}::json)
    where key = ${KEY} and (value ->> 'epoch')::bigint = ${epoch}
    returning key`.execute(db);
  return rows.length === 1;
}

/** null before the first term of all. */
export async function readLeader(db: Kysely<Tables>): Promise<LeaderRecord | null> {
  const row = await db.selectFrom("settings").select("value").where("key", "=", KEY).executeTakeFirst();
  return row === undefined ? null : (row.value as unknown as LeaderRecord);
}

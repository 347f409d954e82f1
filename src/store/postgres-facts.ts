import { sql } from "kysely";
import type { Database } from "./database.ts";

/** What `doctor` wants to know of a PostgreSQL server before Nightshift works on it. */
export interface PostgresFacts {
  /** Such as `15.18`. */
  version: string;
  isSupported: boolean;
  /** May this user make tables where ours go. */
  mayCreate: boolean;
  /** How far its clock is ahead of this machine's, within the time that asking took. */
  clockAheadMs: number;
  /** Connections that the server has for everybody. */
  maxConnections: number;
}

/** PostgreSQL's number of its first version with everything that our statements use. */
const OLDEST_VERSION = 140_000;

/** @throws NightshiftError `store_unavailable` */
export async function postgresFacts(database: Database): Promise<PostgresFacts> {
  const askedAtMs = Date.now();
  const { rows } = await sql<{ version: string; number: number; now_ms: number; may_create: boolean | null; max_connections: number }>`
    select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
      (extract(epoch from clock_timestamp()) * 1000)::bigint as now_ms, has_schema_privilege(current_schema(), 'CREATE') as may_create,
      current_setting('max_connections')::int as max_connections`.execute(database.kysely);
  const answeredAtMs = Date.now();
  const row = rows[0];
  if (row === undefined) throw new Error("no row from a select without a table");
  return {
    version: row.version.split(" ")[0] ?? row.version,
    isSupported: row.number >= OLDEST_VERSION,
    mayCreate: row.may_create === true,
    clockAheadMs: clockAhead(row.now_ms, askedAtMs, answeredAtMs),
    maxConnections: row.max_connections,
  };
}

function clockAhead(serverMs: number, askedAtMs: number, answeredAtMs: number): number {
  if (serverMs < askedAtMs) return serverMs - askedAtMs;
  return serverMs > answeredAtMs ? serverMs - answeredAtMs : 0;
}

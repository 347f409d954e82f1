import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { LIMITS } from "./limits.ts";

/** One server for all the tests of a file; the process's death ends it. */
let server: Promise<PostgresServer> | null = null;
let count = 0;

/** An empty, migrated database on a real server: what `test/store/memory-database.ts` gives, under the same name, for the tests of the rooms. */
export async function memoryDatabase(): Promise<Database> {
  server ??= startPostgres({ settings: ["fsync=off"] });
  const url = await (await server).createDatabase(`room_${(count += 1)}`);
  const database = createPostgres({ ...LIMITS, url }, { log: silentLog() });
  await database.migrate();
  return database;
}

export async function removeServer(): Promise<void> {
  await (await server)?.remove();
}

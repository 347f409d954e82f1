import { sql, type KyselyPlugin } from "kysely";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { createPglite } from "../../src/store/pglite.ts";

/** The one Postgres of this test worker: starting one and compiling its WebAssembly costs two CPU seconds, emptying it tenths. */
let postgres: Promise<Database> | null = null;
let taken = false;

/**
 * An empty, migrated database in memory, for one test file at a time: the worker's files take it in turns.
 * Once closed it refuses every query, so that what a file left running cannot write into the next one's tables.
 */
export async function memoryDatabase(): Promise<Database> {
  if (taken) throw new Error("share one memory database per test file and close it at the end");
  taken = true;
  postgres ??= createPglite({ dir: null, log: silentLog() });
  const shared = await postgres;
  const { kysely } = shared;
  await sql`drop schema public cascade`.execute(kysely);
  await sql`create schema public`.execute(kysely);
  await shared.migrate();
  let closed = false;
  const refuseOnceClosed: KyselyPlugin = {
    transformQuery({ node }) {
      if (closed) throw new Error("this test file closed its database");
      return node;
    },
    transformResult: async ({ result }) => result,
  };
  const guarded = kysely.withPlugin(refuseOnceClosed);
  return {
    kysely: guarded,
    transaction: (work) => guarded.transaction().execute(work),
    migrate: () => shared.migrate(),
    compact: (how) => shared.compact(how),
    close: async () => {
      if (!closed) taken = false;
      closed = true;
    },
  };
}

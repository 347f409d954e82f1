import { readdirSync } from "node:fs";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { migrateBack } from "../../../src/store/migrate.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { postgresFacts } from "../../../src/store/postgres-facts.ts";
import { describeDatabase } from "../../conformance/database.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { LIMITS } from "./limits.ts";

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.remove());

const log = silentLog();
const connect = (url: string): Database => createPostgres({ ...LIMITS, url }, { log });

describeDatabase("postgres", async () => connect(server.url));

describe("migrations", () => {
  test("six starters at once migrate an empty database once, and a newer one is refused by all", async () => {
    const url = await server.createDatabase("starters");
    const starters = Array.from({ length: 6 }, () => connect(url));
    await Promise.all(starters.map((database) => database.migrate()));
    const [first] = starters as [Database];
    const applied = await sql<{ name: string }>`select name from kysely_migration`.execute(first.kysely);
    // The files are the list: a migration that was written but not named in migrate.ts would be missing here.
    const files = readdirSync(new URL("../../../src/store/migrations/", import.meta.url)).toSorted();
    expect(applied.rows.map(({ name }) => `${name}.ts`)).toEqual(files);
    await sql`insert into kysely_migration (name, timestamp) values ('0999-future', 'then')`.execute(first.kysely);
    const refusals = await Promise.allSettled(starters.map((database) => database.migrate()));
    expect(refusals.map((result) => (result.status === "rejected" ? (result.reason as { code: string }).code : "migrated"))).toEqual(
      Array.from({ length: 6 }, () => "store_newer"),
    );
    await Promise.all(starters.map((database) => database.close()));
  });

  test("step by step back removes every table, forward again restores them", async () => {
    const database = connect(await server.createDatabase("back"));
    await database.migrate();
    const tables = async () => (await database.kysely.introspection.getTables()).map(({ name }) => name).toSorted();
    const before = await tables();
    const undone: string[] = [];
    for (let name = await migrateBack(database.kysely); name !== null; name = await migrateBack(database.kysely)) undone.push(name);
    expect(undone.at(-1)).toBe("0001-initial");
    expect(undone).toEqual(undone.toSorted().toReversed());
    expect(await tables()).toEqual([]);
    await database.migrate();
    expect(await tables()).toEqual(before);
    await database.close();
  });
});

test("what doctor asks: version, rights, clock, connections", async () => {
  const database = connect(server.url);
  expect(await postgresFacts(database)).toMatchObject({ isSupported: true, mayCreate: true, clockAheadMs: 0, maxConnections: 100 });
  await sql`create role guest login password 'guest'`.execute(database.kysely);
  await database.close();
  const guest = connect(server.url.replace(/nightshift:[^@]+@/, "guest:guest@"));
  expect(await postgresFacts(guest)).toMatchObject({ mayCreate: false });
  await guest.close();
});

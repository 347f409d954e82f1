import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Database } from "../../src/store/database.ts";

/** What every Database driver must do. `open` gives a fresh, empty, unmigrated database; the suite closes it. */
export function describeDatabase(name: string, open: () => Promise<Database>): void {
  describe(`database: ${name}`, () => {
    let database: Database;
    beforeAll(async () => {
      database = await open();
      await database.migrate();
    });
    afterAll(() => database.close());

    test("migrating again changes nothing", async () => {
      await setSetting("kept", { a: 1 });
      await database.migrate();
      expect(await setting("kept")).toEqual({ a: 1 });
    });

    test("bigint is a number, bytea is bytes, json keeps its key order", async () => {
      const raw = new Uint8Array([0, 1, 127, 128, 255]);
      await database.kysely
        .insertInto("spans")
        .values({ tenant: "t", trace_id: "a", span_id: "b", raw, received_at_ms: 1_795_000_000_123 })
        .execute();
      const row = await database.kysely.selectFrom("spans").selectAll().where("trace_id", "=", "a").executeTakeFirstOrThrow();
      expect(row.received_at_ms).toBe(1_795_000_000_123);
      expect([...row.raw]).toEqual([...raw]);
      await setSetting("ordered", { z: 1, a: { y: 2, b: [null, "ü", true, 1.5] } });
      expect(JSON.stringify(await setting("ordered"))).toBe('{"z":1,"a":{"y":2,"b":[null,"ü",true,1.5]}}');
    });

    test("a transaction that throws leaves nothing behind", async () => {
      const failing = database.kysely.transaction().execute(async (trx) => {
        await trx.insertInto("settings").values({ key: "gone", value: "{}" }).execute();
        throw new Error("stop");
      });
      await expect(failing).rejects.toThrow("stop");
      expect(await setting("gone")).toBeUndefined();
    });

    test("concurrent read-modify-write transactions lose no update", async () => {
      await setSetting("counter", { n: 0 });
      const increment = () =>
        database.kysely.transaction().execute(async (trx) => {
          const row = await trx.selectFrom("settings").select("value").where("key", "=", "counter").forUpdate().executeTakeFirstOrThrow();
          const value = JSON.stringify({ n: Number(row.value["n"]) + 1 });
          await trx.updateTable("settings").set({ value }).where("key", "=", "counter").execute();
        });
      await Promise.all(Array.from({ length: 20 }, increment));
      expect(await setting("counter")).toEqual({ n: 20 });
    });

    test("a failed statement says which constraint and leaves the connection usable", async () => {
      const insert = () => database.kysely.insertInto("settings").values({ key: "twice", value: "{}" }).execute();
      await insert();
      await expect(insert()).rejects.toMatchObject({ code: "23505", constraint: "settings_pkey" });
      expect(await setting("twice")).toEqual({});
    });

    test("one run per agent is running at a time", async () => {
      const start = (id: string, agent: string) =>
        database.kysely
          .insertInto("runs")
          .values({ id, tenant: "t", agent, state: "running", started_at_ms: 1, finished_at_ms: null, plan: "{}", outcome: null })
          .execute();
      await start("run-1", "shop");
      await start("run-2", "travel");
      await expect(start("run-3", "shop")).rejects.toMatchObject({ constraint: "runs_one_running" });
      await database.kysely.updateTable("runs").set({ state: "finished" }).where("id", "=", "run-1").execute();
      await start("run-3", "shop");
    });

    test.each(["evidence", "audit"] as const)("%s cannot be changed, deleted or truncated", async (table) => {
      await database.kysely
        .insertInto("evidence")
        .values({ experiment_id: `of-${table}`, seq: 1, kind: "unit", body: "{}", at_ms: 1 })
        .execute();
      await database.kysely
        .insertInto("audit")
        .values({ at_ms: 1, actor: "operator", action: "promote", subject: "a", body: "{}" })
        .execute();
      for (const statement of [`update ${table} set at_ms = 2`, `delete from ${table}`, `truncate ${table}`]) {
        await expect(sql.raw(statement).execute(database.kysely)).rejects.toThrow("append-only");
      }
    });

    async function setSetting(key: string, value: object): Promise<void> {
      await database.kysely
        .insertInto("settings")
        .values({ key, value: JSON.stringify(value) })
        .execute();
    }

    async function setting(key: string): Promise<unknown> {
      return (await database.kysely.selectFrom("settings").select("value").where("key", "=", key).executeTakeFirst())?.value;
    }
  });
}

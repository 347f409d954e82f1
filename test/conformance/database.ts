import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { literals, readBytes } from "../../src/store/copied.ts";
import type { Database } from "../../src/store/database.ts";

/** What every Database driver must do. `open` gives a fresh, empty, unmigrated database; the suite closes it. */
export function describeDatabase(name: string, open: () => Promise<Database>): void {
  describe(`database: ${name}`, () => {
    let database: Database;
    beforeAll(async () => {
      database = await open();
      // Two processes may start at once.
      await Promise.all([database.migrate(), database.migrate()]);
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

    test("a column of bytes is read as it is, in order, however long, beside names with quotes and backslashes", async () => {
      const tenant = String.raw`o'clock \' ü`;
      const bodies = [new Uint8Array(), Uint8Array.from({ length: 256 }, (_, byte) => byte), new Uint8Array(100_000).fill(255)];
      for (const [index, raw] of bodies.entries()) {
        const span = { tenant, trace_id: `read-${index}`, span_id: "s", raw, received_at_ms: 1 };
        await database.kysely.insertInto("spans").values(span).execute();
      }
      const read = (traces: readonly string[]) => {
        const ids = literals(traces);
        const query = sql`select raw from spans where tenant = any(${literals([tenant])}) and trace_id = any(${ids}) order by trace_id`;
        return readBytes(database.kysely, query);
      };
      const found = await read(["read-0", "read-1", "read-2", "another"]);
      expect(found.map((bytes) => Buffer.from(bytes).toString("hex"))).toEqual(bodies.map((bytes) => Buffer.from(bytes).toString("hex")));
      expect(await read(["another"])).toEqual([]);
      await expect(readBytes(database.kysely, sql`select nothing from nowhere`)).rejects.toMatchObject({ code: "42P01" });
      expect(await read(["read-0"])).toHaveLength(1);
    });

    test("a statement that comes again is right after its table has changed, among hundreds of others, and after it has failed", async () => {
      const { kysely } = database;
      const all = async () => (await sql`select * from shifting`.execute(kysely)).rows;
      await sql`create table shifting (a text not null)`.execute(kysely);
      const insert = (value: string | null) => sql`insert into shifting (a) values (${value})`.execute(kysely);
      await insert("one");
      expect([await all(), await all()]).toEqual([[{ a: "one" }], [{ a: "one" }]]);
      await sql`alter table shifting add column b integer default 2`.execute(kysely);
      expect(await all()).toEqual([{ a: "one", b: 2 }]);
      for (let number = 0; number < 250; number++)
        expect((await sql`select ${sql.lit(number)}::int as n`.execute(kysely)).rows).toEqual([{ n: number }]);
      const many = Array.from({ length: 3_000 }, (_, index) => `v${index}`);
      const asked = sql<{ a: string }>`select a from shifting where a in (${sql.join([...many, "one"])})`;
      for (let time = 0; time < 2; time++) expect((await asked.execute(kysely)).rows).toEqual([{ a: "one" }]);
      await expect(insert(null)).rejects.toMatchObject({ code: "23502" });
      await insert("two");
      expect(await all()).toEqual([
        { a: "one", b: 2 },
        { a: "two", b: 2 },
      ]);
      await sql`drop table shifting`.execute(kysely);
      await expect(all()).rejects.toMatchObject({ code: "42P01" });
    });

    test("compacting, either way, keeps what is there and takes more", async () => {
      await setSetting("before", { a: 1 });
      const span = { tenant: "compacted", trace_id: "a", span_id: "b", raw: new Uint8Array([1]), received_at_ms: 1 };
      await database.kysely.insertInto("spans").values(span).execute();
      for (const how of ["space", "whole"] as const) await database.compact(how);
      expect(await setting("before")).toEqual({ a: 1 });
      const read = () => database.kysely.selectFrom("spans").select("span_id").where("tenant", "=", "compacted").execute();
      expect(await read()).toEqual([{ span_id: "b" }]);
      await database.kysely
        .insertInto("spans")
        .values({ ...span, span_id: "c" })
        .execute();
      expect(await read()).toHaveLength(2);
    });

    test("a transaction that throws leaves nothing behind", async () => {
      const failing = database.transaction(async (trx) => {
        await trx.insertInto("settings").values({ key: "gone", value: "{}" }).execute();
        throw new Error("stop");
      });
      await expect(failing).rejects.toThrow("stop");
      expect(await setting("gone")).toBeUndefined();
    });

    test("concurrent read-modify-write transactions lose no update", async () => {
      await setSetting("counter", { n: 0 });
      const increment = () =>
        database.transaction(async (trx) => {
          const row = await trx.selectFrom("settings").select("value").where("key", "=", "counter").executeTakeFirstOrThrow();
          const value = JSON.stringify({ n: Number(row.value["n"]) + 1 });
          await trx.updateTable("settings").set({ value }).where("key", "=", "counter").execute();
        });
      await Promise.all(Array.from({ length: 10 }, increment));
      expect(await setting("counter")).toEqual({ n: 10 });
    });

    test("transactions that decide on what is not there yet decide one after the other", async () => {
      const takeNumber = (actor: string) =>
        database.transaction(async (trx) => {
          const { taken } = await trx
            .selectFrom("audit")
            .select(({ fn }) => fn.countAll<number>().as("taken"))
            .where("action", "=", "number")
            .executeTakeFirstOrThrow();
          await trx
            .insertInto("audit")
            .values({ at_ms: 1, actor, action: "number", subject: String(taken + 1), body: "{}" })
            .execute();
        });
      await Promise.all(["a", "b", "c", "d", "e", "f"].map(takeNumber));
      const rows = await database.kysely.selectFrom("audit").select("subject").where("action", "=", "number").execute();
      expect(rows.map(({ subject }) => subject).toSorted()).toEqual(["1", "2", "3", "4", "5", "6"]);
    });

    test("two transactions that each keep the other's rule leave one of two standing", async () => {
      await setSetting("left", { on: true });
      await setSetting("right", { on: true });
      const turnOff = (key: string) =>
        database.transaction(async (trx) => {
          const rows = await trx.selectFrom("settings").select("value").where("key", "in", ["left", "right"]).execute();
          if (rows.filter(({ value }) => value["on"]).length < 2) return;
          await trx
            .updateTable("settings")
            .set({ value: JSON.stringify({ on: false }) })
            .where("key", "=", key)
            .execute();
        });
      await Promise.all([turnOff("left"), turnOff("right")]);
      expect([await setting("left"), await setting("right")].filter((value) => (value as { on: boolean }).on)).toHaveLength(1);
    });

    test("read committed waits for a locked row and then sees what the other wrote", async () => {
      await setSetting("shared", { n: 0 });
      const add = () =>
        database.transaction(
          async (trx) => {
            const row = await trx.selectFrom("settings").select("value").where("key", "=", "shared").forUpdate().executeTakeFirstOrThrow();
            const value = JSON.stringify({ n: Number(row.value["n"]) + 1 });
            await trx.updateTable("settings").set({ value }).where("key", "=", "shared").execute();
          },
          { isolation: "read committed" },
        );
      await Promise.all(Array.from({ length: 10 }, add));
      expect(await setting("shared")).toEqual({ n: 10 });
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

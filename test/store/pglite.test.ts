import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { migrateBack } from "../../src/store/migrate.ts";
import { createPglite } from "../../src/store/pglite.ts";
import { describeDatabase } from "../conformance/database.ts";
import { memoryDatabase } from "./memory-database.ts";

const log = silentLog();

describeDatabase("pglite in memory", () => createPglite({ dir: null, log }));

describe("migrations", () => {
  let database: Database;
  beforeAll(async () => {
    database = await memoryDatabase();
  });
  afterAll(() => database.close());

  test("step by step back removes every table, forward again restores them", async () => {
    const tables = async () => (await database.kysely.introspection.getTables()).map(({ name }) => name).toSorted();
    const before = await tables();
    expect(before).toHaveLength(32);
    const undone: string[] = [];
    for (let name = await migrateBack(database.kysely); name !== null; name = await migrateBack(database.kysely)) undone.push(name);
    expect(undone.at(-1)).toBe("0001-initial");
    expect(undone).toEqual(undone.toSorted().toReversed());
    expect(await tables()).toEqual([]);
    await database.migrate();
    expect(await tables()).toEqual(before);
  });

  test("an iteration's scenarios are in one place after 0002, and whole again before it", async () => {
    const scenario = (id: string) => ({ id, text: `what ${id} said` });
    await database.kysely
      .insertInto("runs")
      .values({ id: "r", tenant: "t", agent: "a", state: "running", started_at_ms: 1, plan: "{}" })
      .execute();
    for (const id of ["s1", "s2"]) {
      const row = { run_id: "r", id, split: "train", body: JSON.stringify(scenario(id)) } as const;
      await database.kysely.insertInto("scenarios").values(row).execute();
    }
    const output = JSON.stringify({ scenarioIds: ["s2", "s1"] });
    await database.kysely
      .insertInto("run_steps")
      .values({ run_id: "r", step: "scenarios-1", started_at_ms: 1, finished_at_ms: 2, output })
      .execute();
    const step = async () => (await database.kysely.selectFrom("run_steps").select("output").executeTakeFirst())?.output;
    while ((await migrateBack(database.kysely)) !== "0002-subjects");
    expect(await step()).toEqual({ scenarios: [scenario("s2"), scenario("s1")] });
    await database.migrate();
    expect(await step()).toEqual({ scenarioIds: ["s2", "s1"] });
  });

  test("0004 knows whose media and groups there are from what was written down before it, and takes it back", async () => {
    const db = database.kysely;
    while ((await migrateBack(db)) !== "0004-erasure-reach");
    const trajectory = {
      ...{ id: "t", conversation_id: "c", conversation_key: "k", tenant: "t", agent: "a", started_at_ms: 1, ended_at_ms: 2 },
      ...{ content_hash: "h", message_hashes: "[]", body: JSON.stringify({ media: ["sha256:a"] }), trainable: true, reasons: "[]" },
    };
    for (const version of [1, 2])
      await db
        .insertInto("trajectories")
        .values({ ...trajectory, version, superseded: version === 1 })
        .execute();
    await sql`insert into trajectory_media values ('sha256:a', 't', 1, 't'), ('sha256:a', 't', 2, 't'), ('sha256:gone', 'x', 1, 't')`.execute(
      db,
    );
    const run = { run_id: "r4", id: "s4", split: "train", body: JSON.stringify({ trajectoryId: "t" }) } as const;
    await db.insertInto("scenarios").values(run).execute();
    await db.insertInto("runs").values({ id: "r4", tenant: "t", agent: "b", state: "failed", started_at_ms: 7, plan: "{}" }).execute();
    const group = { id: "g4", run_id: "r4", iteration: 1, scenario_id: "s4", body_digest: "sha256:g", summary: "{}" };
    await db.insertInto("groups").values(group).execute();
    await db.insertInto("judge_results").values({ cache_key: "old", body: "{}", created_at_ms: 1 }).execute();
    await database.migrate();
    const media = await db.selectFrom("conversation_media").select(["conversation_id", "digest"]).orderBy("digest").execute();
    expect(media).toEqual([
      { conversation_id: "c", digest: "sha256:a" },
      { conversation_id: "", digest: "sha256:gone" },
    ]);
    const sources = await db.selectFrom("object_sources").select("source").where("digest", "=", "sha256:g").orderBy("source").execute();
    expect(sources.map(({ source }) => source)).toEqual(["s4", "t"]);
    expect(await db.selectFrom("judge_results").selectAll().execute()).toEqual([]);
    while ((await migrateBack(db)) !== "0004-erasure-reach");
    // 0007 took the table away and gives it back empty: what is in it again is what 0004 fills in.
    const back = await sql<{ digest: string; version: number }>`select digest, version from trajectory_media order by version`.execute(db);
    expect(back.rows).toEqual([1, 2].map((version) => ({ digest: "sha256:a", version })));
    await database.migrate();
    expect((await db.introspection.getTables()).map(({ name }) => name)).not.toContain("trajectory_media");
  });

  test("a database of a newer version is refused", async () => {
    await sql`insert into kysely_migration (name, timestamp) values ('0999-future', 'then')`.execute(database.kysely);
    await expect(database.migrate()).rejects.toMatchObject({ code: "store_newer" });
  });
});

describe("on disk", () => {
  const dir = mkdtempSync(join(tmpdir(), "nightshift-store-"));
  let writer: ChildProcess;
  afterAll(() => {
    writer.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  });

  test("acknowledged commits survive kill -9, again and again, and one process owns the directory", { timeout: 120_000 }, async () => {
    const acknowledged: number[] = [];
    for (const round of [0, 1]) {
      writer = fork(join(import.meta.dirname, "writer.ts"), [dir, String(round * 1_000_000)], { execArgv: [], silent: true });
      let complaint = "";
      writer.stderr?.on("data", (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-2_000)));
      const enough = Promise.withResolvers<void>();
      let seen = 0;
      writer.on("message", (id: number) => {
        acknowledged.push(id);
        if ((seen += 1) === 20) enough.resolve();
      });
      writer.on("exit", (code, signal) => enough.reject(new Error(`writer stopped by itself (${code ?? signal}): ${complaint}`)));
      await enough.promise;
      if (round === 0)
        await expect(createPglite({ dir, log })).rejects.toMatchObject({
          code: "data_dir_locked",
          message: expect.stringContaining(`${writer.pid}`),
        });
      const exited = once(writer, "exit");
      writer.kill("SIGKILL");
      await exited;
    }
    const database = await createPglite({ dir, log });
    const rows = await database.kysely.selectFrom("spans").select("span_id").execute();
    await database.close();
    const stored = new Set(rows.map((row) => Number(row.span_id)));
    expect(acknowledged.length).toBeGreaterThanOrEqual(40);
    expect(acknowledged.filter((id) => !stored.has(id))).toEqual([]);
  });

  test("a second opening in the same process is refused until the first has closed", async () => {
    const first = await createPglite({ dir, log });
    await expect(createPglite({ dir, log })).rejects.toMatchObject({ code: "data_dir_locked" });
    await first.close();
    await first.close();
    const second = await createPglite({ dir, log });
    await second.close();
    await expect(sql`select 1`.execute(second.kysely)).rejects.toThrow(/destroyed|closed/);
  });
});

import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, expect, test } from "vitest";
import { silentLog } from "../../../src/log.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { startPostgres, unprivileged } from "../parts/postgres.ts";
import { LIMITS } from "./limits.ts";

// Only root may mount a file system for another user's server.
const isPossible = process.getuid?.() === 0 && spawnSync("unshare", ["--mount", "true"]).status === 0;

const cleanups: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const cleanup of cleanups.toReversed()) await cleanup();
});

test.skipIf(!isPossible)(
  "a disk that fills up: retryable, nothing acknowledged is lost, and work goes on when there is space",
  async () => {
    const small = mkdtempSync(join(tmpdir(), "nightshift-small-"));
    const { uid } = unprivileged() ?? { uid: process.getuid?.() };
    const mount = `mount -t tmpfs -o size=8m,mode=700,uid=${uid} tmpfs ${small} && echo mounted && exec cat`;
    // `cat` ends with its stdin, and with it the file system.
    const holder = spawn("unshare", ["--mount", "sh", "-c", mount], { stdio: ["pipe", "pipe", "inherit"] });
    cleanups.push(async () => {
      const gone = once(holder, "exit");
      holder.stdin.end();
      await gone;
      rmdirSync(small);
    });
    await once(holder.stdout, "data");
    const server = await startPostgres({ enter: ["nsenter", "--mount", "--target", String(holder.pid)] });
    cleanups.push(() => server.remove());
    const database = createPostgres({ ...LIMITS, url: server.url }, { log: silentLog() });
    cleanups.push(() => database.close());
    await database.migrate();
    await sql.raw(`create tablespace small location '${small}'`).execute(database.kysely);
    await sql`alter table spans set tablespace small`.execute(database.kysely);
    await sql`create table ballast tablespace small as select repeat('x', 1000) from generate_series(1, 2000)`.execute(database.kysely);
    const acknowledged: string[] = [];
    const insert = async (id: string): Promise<void> => {
      const row = { tenant: "t", trace_id: "t", span_id: id, raw: randomBytes(100_000), received_at_ms: 1 };
      await database.transaction((trx) => trx.insertInto("spans").values(row).execute());
      acknowledged.push(id);
    };
    const fill = async (): Promise<void> => {
      for (let id = 0; id < 1_000; id += 1) await insert(String(id));
    };
    const full = await fill().catch((error: unknown) => error);
    expect(full).toMatchObject({ code: "disk_full", retryable: true });
    expect((full as Error).message).toBe(
      `the database could not be written below the data directory of PostgreSQL at 127.0.0.1:${server.port}/nightshift: no space left on the device`,
    );
    const stored = await database.kysely.selectFrom("spans").select("span_id").execute();
    expect(stored.map(({ span_id }) => span_id).toSorted()).toEqual(acknowledged.toSorted());
    await sql`drop table ballast`.execute(database.kysely);
    await insert("again");
  },
);

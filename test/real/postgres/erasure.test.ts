import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { eraseAlone } from "../../../src/store/erased-sources.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { listTrajectories } from "../../../src/trajectory/trajectory-store.ts";
import { conversation, subjectWorld, type SubjectWorld } from "../../subjects/world.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { LIMITS } from "./limits.ts";

/** What an erasure must not pass, and what must not pass it, between connections. */
let server: PostgresServer;
let database: Database;
let world: SubjectWorld;
const directory = mkdtempSync(join(tmpdir(), "nightshift-erasure-"));
beforeAll(async () => {
  server = await startPostgres({ settings: ["fsync=off"] });
  database = createPostgres({ ...LIMITS, url: server.url }, { log: silentLog() });
  await database.migrate();
  world = await subjectWorld(database, directory);
});
afterAll(async () => {
  await world.close();
  await database.close();
  await server.remove();
  rmSync(directory, { recursive: true, force: true });
});

/** Starts `work` while an erasure is under way, and says whether it waited for its end. */
async function waitsForErasure(work: () => Promise<unknown>): Promise<boolean> {
  const order: string[] = [];
  const [begun, over] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const erasing = database.transaction(
    async (trx) => {
      await eraseAlone(trx);
      begun.resolve();
      await over.promise;
      order.push("erased");
    },
    { isolation: "read committed" },
  );
  await begun.promise;
  const working = work().then(() => order.push("worked"));
  await new Promise((resolve) => {
    setTimeout(resolve, 300);
  });
  over.resolve();
  await Promise.all([erasing, working]);
  return order.join() === "erased,worked";
}

test("assembly, ingest and a night's steps wait for an erasure that has begun", async () => {
  await world.send(conversation("anna", "about a lamp"));
  world.clock.nowMs += 1_000;
  expect(await waitsForErasure(() => world.capture.sweep())).toBe(true);
  expect((await listTrajectories(database.kysely, { tenant: "default" })).items).toHaveLength(1);
  expect(await waitsForErasure(() => world.send(conversation("ben", "about a chair")))).toBe(true);
  await world.runs.create({ id: "run", tenant: "default", agent: "shop", plan: {}, nowMs: 1 });
  expect(await waitsForErasure(() => world.runs.step("run", "batch-1", () => Promise.resolve({})))).toBe(true);
});

test("messages that two customers share are whole for the other, whose trajectory is being saved when the first is erased", async () => {
  await world.talk("leaves", "the same words");
  world.clock.nowMs += 60_000;
  await world.send(conversation("stays", "the same words"));
  world.clock.nowMs += 1_000;
  // Between its messages, which are there already, and its commit.
  await sql`create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.6); return new; end $$`.execute(
    database.kysely,
  );
  await sql`create trigger slow before insert on trajectories for each row execute function slow()`.execute(database.kysely);
  const sweeping = world.capture.sweep();
  await new Promise((resolve) => {
    setTimeout(resolve, 300);
  });
  await Promise.all([sweeping, world.eraser.erase({ tenant: "default", subjects: ["leaves"], actor: "tester" })]);
  const { items } = await listTrajectories(database.kysely, { tenant: "default" });
  const id = items.find(({ conversationKey }) => conversationKey === "chat-stays")?.id ?? "";
  const row = await database.kysely.selectFrom("trajectories").select("message_hashes").where("id", "=", id).executeTakeFirstOrThrow();
  const found = await database.kysely.selectFrom("messages").select("hash").where("hash", "in", row.message_hashes).execute();
  expect(found).toHaveLength(new Set(row.message_hashes).size);
});

import { fork } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { createAssembler } from "../../../src/trajectory/assembler.ts";
import { ingest } from "../../trajectory/ingest.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { config, deliveries, LONG_AFTER_MS } from "./arrivals.ts";
import { LIMITS } from "./limits.ts";

const WORKERS = 3;
const OPTIONS = { chats: 40, requests: 120, seed: 7 };

let server: PostgresServer;
beforeAll(async () => {
  server = await startPostgres({ settings: ["fsync=off"] });
});
afterAll(() => server.remove());

test("three processes that take in overlapping deliveries and assemble beside each other end where one alone does", async () => {
  const alone = await open("alone");
  for (const [index, request] of deliveries(OPTIONS).entries()) await ingest(alone, config.agents, request, 1_000 + index);
  await createAssembler({ database: alone, config, log: silentLog() }).sweep(LONG_AFTER_MS);

  const together = await open("together");
  const url = server.url.replace(/nightshift$/, "together");
  const reports = await Promise.all(Array.from({ length: WORKERS }, (_, worker) => runWorker(url, worker)));
  const last = await createAssembler({ database: together, config, log: silentLog() }).sweep(LONG_AFTER_MS);

  const expected = await contents(alone);
  expect(expected.spans).toHaveLength(OPTIONS.chats * 8);
  expect(new Set(expected.traces.map(({ conversation_id }) => conversation_id)).size).toBe(OPTIONS.chats);
  expect(new Set(expected.trajectories.map(({ conversation_id }) => conversation_id)).size).toBe(OPTIONS.chats);
  expect(await contents(together)).toEqual(expected);
  const messages = new Set((await together.kysely.selectFrom("messages").select("hash").execute()).map(({ hash }) => hash));
  expect(expected.trajectories.flatMap(({ message_hashes }) => message_hashes).filter((hash) => !messages.has(hash))).toEqual([]);
  const assembled = [...reports.flat(), ...last.map(({ id, version }) => `${id}@${version}`)];
  const stored = await together.kysely.selectFrom("trajectories").select(["id", "version"]).execute();
  expect(assembled.toSorted()).toEqual(stored.map(({ id, version }) => `${id}@${version}`).toSorted());
  await alone.close();
  await together.close();
});

async function open(name: string): Promise<Database> {
  const database = createPostgres({ ...LIMITS, url: await server.createDatabase(name) }, { log: silentLog() });
  await database.migrate();
  return database;
}

function runWorker(url: string, worker: number): Promise<string[]> {
  const args = [url, JSON.stringify(OPTIONS), String(WORKERS), String(worker)];
  const child = fork(join(import.meta.dirname, "ingest-worker.ts"), args, { execArgv: [] });
  return new Promise((resolve, reject) => {
    child.on("message", (assembled: string[]) => resolve(assembled));
    child.on("exit", (code) => reject(new Error(`worker ended with exit code ${code}`)));
  });
}

/** What is left in the end and does not depend on who came first. */
async function contents({ kysely }: Database) {
  return {
    spans: await kysely.selectFrom("spans").select(["trace_id", "span_id", "raw"]).orderBy("trace_id").orderBy("span_id").execute(),
    traces: await kysely.selectFrom("conversation_traces").select(["trace_id", "conversation_id"]).orderBy("trace_id").execute(),
    trajectories: await kysely
      .selectFrom("trajectories")
      .select(["id", "conversation_id", "conversation_key", "subject", "content_hash", "message_hashes", "trainable"])
      .where("superseded", "=", false)
      .orderBy("id")
      .execute(),
    open: await kysely.selectFrom("conversations").select("id").where("state", "=", "open").execute(),
  };
}

import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { sql } from "kysely";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { NightshiftError } from "../../../src/errors.ts";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { until } from "../../e2e/processes.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { freePort } from "../parts/process.ts";
import { LIMITS } from "./limits.ts";

let server: PostgresServer;
const opened: Database[] = [];
const connect = (change: Partial<typeof LIMITS & { url: string }> = {}): Database => {
  const database = createPostgres({ ...LIMITS, url: server.url, ...change }, { log: silentLog() });
  opened.push(database);
  return database;
};

// What would end the process: an error event without a listener, a rejection without a handler.
const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);
beforeAll(async () => {
  process.on("uncaughtException", note).on("unhandledRejection", note);
  server = await startPostgres({ settings: ["max_connections=12", "superuser_reserved_connections=0"] });
  await connect().migrate();
});
beforeEach(() => void (unhandled.length = 0));
afterEach(async () => {
  await Promise.all(opened.splice(0).map((database) => database.close()));
  expect(unhandled).toEqual([]);
});
afterAll(async () => {
  process.off("uncaughtException", note).off("unhandledRejection", note);
  await server.remove();
});

const one = (database: Database): Promise<unknown> => sql`select 1`.execute(database.kysely);
const failure = (work: Promise<unknown>): Promise<NightshiftError> =>
  work.then(
    () => expect.fail("it did not fail"),
    (error: unknown) => error as NightshiftError,
  );

/** A connection, held open in a transaction until it is released. */
async function hold(database: Database): Promise<{ release: () => Promise<void> }> {
  const entered = Promise.withResolvers<void>();
  const leave = Promise.withResolvers<void>();
  const held = database.transaction(async (trx) => {
    await sql`select 1`.execute(trx);
    entered.resolve();
    await leave.promise;
  });
  await Promise.race([entered.promise, held]);
  return {
    async release() {
      leave.resolve();
      await held;
    },
  };
}

test("nobody listens: retryable, with the address and without the password", async () => {
  const port = await freePort();
  const error = await failure(connect({ url: `postgres://nightshift:s3cret-word@127.0.0.1:${port}/nightshift` }).migrate());
  expect(error).toMatchObject({ code: "store_unavailable", retryable: true });
  expect(error.message).toContain(`127.0.0.1:${port}/nightshift`);
  expect(JSON.stringify([error.message, error.stack, String(error.cause), Object.entries(error.cause as object)])).not.toContain(
    "s3cret-word",
  );
});

test("a wrong password and a database that does not exist say so", async () => {
  const wrong = await failure(one(connect({ url: server.url.replace(/:[^:@]+@/, ":wrong@") })));
  expect(wrong).toMatchObject({ code: "store_unavailable", message: expect.stringContaining("password authentication failed") as string });
  const missing = await failure(one(connect({ url: server.url.replace(/nightshift$/, "nowhere") })));
  expect(missing).toMatchObject({ code: "store_unavailable", message: expect.stringContaining('"nowhere" does not exist') as string });
});

test("killed mid-transaction under load, and back: nothing acknowledged is lost, nothing is half there, and work goes on", async () => {
  const database = connect();
  const acknowledged: number[] = [];
  const failures: NightshiftError[] = [];
  let stopping = false;
  let next = 0;
  const row = (id: number, half: string) => ({
    ...{ tenant: "load", trace_id: String(id), span_id: half, raw: new Uint8Array(2_000).fill(id % 256), received_at_ms: id },
  });
  const load = async (): Promise<void> => {
    while (!stopping) {
      const id = (next += 1);
      try {
        await database.transaction(async (trx) => {
          await trx.insertInto("spans").values(row(id, "a")).execute();
          await trx.insertInto("spans").values(row(id, "b")).execute();
        });
        acknowledged.push(id);
      } catch (error) {
        failures.push(error as NightshiftError);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  const loads = Array.from({ length: 8 }, load);
  const more = (count: number, what: string) => {
    const from = acknowledged.length;
    return until(what, 60_000, () => (acknowledged.length >= from + count ? true : null), 10);
  };
  await more(100, "load before the first kill");
  for (const _ of [1, 2, 3]) {
    const held = await hold(database);
    await server.kill();
    await expect(held.release()).rejects.toMatchObject({ code: "store_unavailable" });
    await until("calls fail", 20_000, () => (failures.length > 0 ? true : null), 10);
    await server.restart();
    await more(100, "load after a restart");
  }
  stopping = true;
  await Promise.all(loads);
  expect(failures.filter(({ code, retryable }) => code !== "store_unavailable" || !retryable)).toEqual([]);
  const stored = await database.kysely
    .selectFrom("spans")
    .select(({ fn }) => ["trace_id", fn.countAll<number>().as("halves")])
    .where("tenant", "=", "load")
    .groupBy("trace_id")
    .execute();
  expect(stored.filter(({ halves }) => halves !== 2)).toEqual([]);
  const there = new Set(stored.map(({ trace_id }) => Number(trace_id)));
  expect(acknowledged.filter((id) => !there.has(id))).toEqual([]);
});

test("connections that the server cuts while nobody uses them are replaced", async () => {
  const database = connect();
  await Promise.all(Array.from({ length: 5 }, () => one(database)));
  const other = connect({ maxConnections: 1 });
  await sql`select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'`.execute(
    other.kysely,
  );
  await until("a query that works", 10_000, () => one(database));
});

test("out of connections at the server: retryable, says what to turn, and works once one is free", async () => {
  const greedy = connect({ maxConnections: 12 });
  const held = await Promise.all(Array.from({ length: 12 }, () => hold(greedy)));
  const late = connect();
  const error = await failure(one(late));
  expect(error).toMatchObject({ code: "store_unavailable", retryable: true });
  expect(error.message).toMatch(/too many clients already; lower store\.maxConnections/);
  await Promise.all(held.map(({ release }) => release()));
  await greedy.close();
  await until("a connection", 10_000, () => one(late));
});

test("out of connections in the pool: retryable after the wait, and works once one is free", async () => {
  const database = connect({ maxConnections: 1, connectTimeoutMs: 300 });
  const held = await hold(database);
  const error = await failure(one(database));
  expect(error).toMatchObject({ code: "store_unavailable", retryable: true });
  expect(error.message).toContain("all store.maxConnections are busy");
  await held.release();
  await one(database);
});

test("a statement that runs too long is cut off, and its connection goes on", async () => {
  const database = connect({ maxConnections: 1, statementTimeoutMs: 200 });
  const error = await failure(sql`select pg_sleep(30)`.execute(database.kysely));
  expect(error).toMatchObject({ code: "store_unavailable", message: expect.stringContaining("store.statementTimeoutMs") as string });
  await one(database);
});

test("a process that waits for another one's migration is not cut off by the statement timeout", async () => {
  const other = connect({ maxConnections: 1 });
  // The lock that Kysely's migrator holds for as long as migrations take.
  const entered = Promise.withResolvers<void>();
  const leave = Promise.withResolvers<void>();
  const migrating = other.transaction(async (trx) => {
    await sql`select pg_advisory_xact_lock(3853314791062309107)`.execute(trx);
    entered.resolve();
    await leave.promise;
  });
  await entered.promise;
  const hasty = connect({ statementTimeoutMs: 200 });
  let isOver = false;
  const migrated = hasty.migrate().finally(() => (isOver = true));
  expect(await failure(sql`select pg_advisory_lock(3853314791062309107)`.execute(hasty.kysely))).toMatchObject({
    code: "store_unavailable",
  });
  expect(isOver).toBe(false);
  leave.resolve();
  await Promise.all([migrating, migrated]);
});

test(
  "a server that stops answering without closing anything is given up, and asked again on a new connection",
  { timeout: 60_000 },
  async () => {
    const proxy = await silentProxy(server.port);
    const url = server.url.replace(`:${server.port}/`, `:${proxy.port}/`);
    const database = connect({ url, maxConnections: 1, statementTimeoutMs: 200, connectTimeoutMs: 1_000 });
    await one(database);
    proxy.silence(true);
    expect(await failure(database.transaction((trx) => sql`select 1`.execute(trx)))).toMatchObject({ code: "store_unavailable" });
    expect(await failure(one(database))).toMatchObject({ code: "store_unavailable" });
    proxy.silence(false);
    await until("a query that works", 10_000, () => one(database));
    await database.close();
    proxy.close();
  },
);

/** A network in front of the server that can swallow everything without a word. */
async function silentProxy(target: number): Promise<{ port: number; silence: (on: boolean) => void; close: () => void }> {
  const { connect: dial } = await import("node:net");
  let silent = false;
  const sockets = new Set<Socket>();
  const pass = (from: Socket, to: Socket) => {
    sockets.add(from);
    from.on("data", (chunk) => void (silent || to.write(chunk)));
    from.on("close", () => to.destroy());
    from.on("error", () => to.destroy());
  };
  const proxy: Server = createServer((client) => {
    const upstream = dial(target, "127.0.0.1");
    pass(client, upstream);
    pass(upstream, client);
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return {
    port: (proxy.address() as { port: number }).port,
    silence: (on) => void (silent = on),
    close() {
      proxy.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

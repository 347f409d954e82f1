import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import type { Logger } from "../log.ts";
import type { AcquireLock, HeldLock } from "./election.ts";
import { describeServer, postgresError } from "./postgres-errors.ts";

/** Of the advisory lock that only the leader holds; advisory locks belong to one database, so two installations never meet. */
const LOCK = [0x4e494748, 0x54534846] as const;

/** How often somebody else asks for the lock. */
const ASK_EVERY_MS = 500;
/** How often its holder asks whether the connection lives, and how long it waits for the answer. */
const CHECK_EVERY_MS = 2_000;
const ANSWER_WITHIN_MS = 5_000;
/**
 * The holder gives up after the first, the server takes the lock away after the second: a process that was frozen or cut off has stopped leading before
 * another can begin. The second also frees the lock of a holder that will never wake up.
 */
const HOLDER_GIVES_UP_MS = 10_000;
const SERVER_GIVES_UP_MS = 15_000;

/**
 * A session-level advisory lock on a connection of its own: the lock is the connection, so a holder that dies frees it at once. The URL must lead to the server
 * itself, not to a pooler that shares one session among several clients.
 */
export function postgresLock(
  options: { url: string; connectTimeoutMs: number },
  deps: { log: Logger; monotonicMs: () => number },
): AcquireLock {
  return async (signal) => {
    let isTold = false;
    for (;;) {
      signal.throwIfAborted();
      try {
        return await waitForLock(options, deps, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!isTold) deps.log.warn({ err: postgresError(error, describeServer(options.url)) }, "no election without the database");
        isTold = true;
        await sleep(ASK_EVERY_MS, undefined, { signal });
      }
    }
  };
}

async function waitForLock(
  { url, connectTimeoutMs }: { url: string; connectTimeoutMs: number },
  { monotonicMs }: { monotonicMs: () => number },
  signal: AbortSignal,
): Promise<HeldLock> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
    query_timeout: ANSWER_WITHIN_MS,
    application_name: "nightshift election",
  });
  const lost = new AbortController();
  const lose = (why: string): void => lost.abort(new Error(why));
  client.on("error", (error) => lose(postgresError(error, describeServer(url)).message));
  client.on("end", () => lose("the connection that held the lock ended"));
  try {
    await client.connect();
    await client.query(`set idle_session_timeout = ${SERVER_GIVES_UP_MS}`);
    for (;;) {
      const askedAtMs = monotonicMs();
      const { rows } = await client.query<{ held: boolean }>("select pg_try_advisory_lock($1, $2) as held", [...LOCK]);
      if (rows[0]?.held === true) return hold(client, { askedAtMs, lost, monotonicMs });
      await sleep(ASK_EVERY_MS, undefined, { signal });
    }
  } catch (error) {
    void disconnect(client);
    throw error;
  }
}

function hold(
  client: Client,
  { askedAtMs, lost, monotonicMs }: { askedAtMs: number; lost: AbortController; monotonicMs: () => number },
): HeldLock {
  let aliveAtMs = askedAtMs;
  const check = async (): Promise<void> => {
    const sentAtMs = monotonicMs();
    await client.query("select 1");
    aliveAtMs = sentAtMs;
  };
  const watch = setInterval(() => {
    // First the clock: a process that was stopped for a while must not wait for an answer before it stops leading.
    if (monotonicMs() - aliveAtMs > HOLDER_GIVES_UP_MS) lost.abort(new Error(`no answer of the database for ${HOLDER_GIVES_UP_MS} ms`));
    else check().catch((error: unknown) => lost.abort(new Error("the database did not answer for the lock", { cause: error })));
  }, CHECK_EVERY_MS);
  let released: Promise<void> | null = null;
  return {
    signal: lost.signal,
    release: () => {
      clearInterval(watch);
      return (released ??= disconnect(client));
    },
  };
}

/** Politely if the server answers; a connection that is cut off is left to the server's own timeout. */
async function disconnect(client: Client): Promise<void> {
  await Promise.race([client.end().catch(() => undefined), sleep(ANSWER_WITHIN_MS, undefined, { ref: false })]);
}

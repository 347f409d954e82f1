import { Worker } from "node:worker_threads";
import type { PostgresPool, PostgresPoolClient } from "kysely";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { PgliteAnswer, PgliteRequest } from "./pglite-protocol.ts";

type Done = Extract<PgliteAnswer, { status: "done" }>;
type Failed = Extract<PgliteAnswer, { status: "failed" }>;
type RequestBody = PgliteRequest extends infer R ? (R extends { id: number } ? Omit<R, "id"> : never) : never;
interface Waiting {
  resolve: (answer: Done) => void;
  reject: (error: Error) => void;
}

/** The one connection to Postgres in its worker thread. */
export interface PgliteConnection {
  request(body: RequestBody): Promise<Done>;
  terminate(): Promise<void>;
}

/** Starts the worker thread. Failed statements reject with `code` (SQLSTATE) and `constraint`; a dead worker rejects all with `store_unavailable`. */
export function createPgliteConnection(path: string, log: Logger): PgliteConnection {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const worker = new Worker(new URL(`./pglite-worker.${extension}`, import.meta.url));
  const waiting = new Map<number, Waiting>();
  let nextId = 0;
  let gone: Error | null = null;

  const fail = (problem: string, cause?: unknown) => {
    gone ??= nightshiftError("store_unavailable", { problem }, { cause });
    for (const { reject } of waiting.values()) reject(gone);
    waiting.clear();
  };
  worker.on("error", (cause) => {
    log.error({ err: cause }, "database worker failed");
    fail("the embedded database stopped", cause);
  });
  worker.on("exit", () => fail("the embedded database is closed"));
  worker.on("message", (answer: PgliteAnswer) => {
    const caller = waiting.get(answer.id);
    waiting.delete(answer.id);
    if (answer.status === "done") caller?.resolve(answer);
    else {
      caller?.reject(statementError(answer, path));
      if (answer.fatal) fail(`the embedded database stopped: ${answer.message}`);
    }
  });

  return {
    request: (body) =>
      new Promise((resolve, reject) => {
        if (gone !== null) return reject(gone);
        const id = (nextId += 1);
        waiting.set(id, { resolve, reject });
        return worker.postMessage({ ...body, id });
      }),
    terminate: async () => {
      await worker.terminate();
    },
  };
}

/** Postgres' detail and hint are left out: they quote row values, which must not reach a log. */
function statementError(answer: Failed, path: string): Error {
  const cause = Object.assign(new Error(answer.message), { code: answer.code, constraint: answer.constraint });
  if (answer.code === "53100" || /no space left|ENOSPC/i.test(answer.message)) {
    return nightshiftError("disk_full", { what: "the database", path }, { cause });
  }
  return answer.fatal ? nightshiftError("store_unavailable", { problem: answer.message }, { cause }) : cause;
}

/**
 * A pool of exactly one client for Kysely's Postgres dialect. Callers queue in order and hold the client for a whole transaction,
 * so transactions never interleave (which also makes them serialisable).
 */
export function createSingleClientPool(connection: PgliteConnection, log: Logger, slowWaitMs = 10_000): PostgresPool {
  let tail: Promise<void> = Promise.resolve();

  const client = (release: () => void): PostgresPoolClient =>
    ({
      query: async (sql: string, parameters: readonly unknown[]) => {
        const { rows, affectedRows, command } = await connection.request({ kind: "query", sql, parameters });
        return { rows, rowCount: affectedRows, command };
      },
      release,
      // The dialect's type also asks for a cursor signature, which it uses only when a cursor was configured.
    }) as PostgresPoolClient;

  return {
    connect: async () => {
      const before = tail;
      let release = () => {};
      tail = new Promise((resolve) => (release = resolve));
      // The usual cause is a query on `kysely` inside a transaction of its own, which would wait for ever.
      const timer = setTimeout(() => log.warn({ waited_ms: slowWaitMs }, "database connection awaited for long"), slowWaitMs);
      await before;
      clearTimeout(timer);
      return client(release);
    },
    end: async () => {
      await tail;
    },
  };
}

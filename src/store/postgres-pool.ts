import type { PostgresPool, PostgresPoolClient } from "kysely";
import { Pool, Query, TypeOverrides, types, type PoolClient, type QueryResult } from "pg";
import type { Logger } from "../log.ts";
import { type CopiedRow, isCopy } from "./copied.ts";
import { describeServer, isConnectionLost, postgresError } from "./postgres-errors.ts";

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database?sslmode=…`. A secret. */
  url: string;
  maxConnections: number;
  /** Longest wait for a connection, new or free. */
  connectTimeoutMs: number;
  /** Longest run of one statement, waiting for locks included. */
  statementTimeoutMs: number;
}

/** Given to a server that does not answer at all, on top of the statement timeout that it should have kept. */
const SILENCE_MS = 5_000;

/**
 * A pool for Kysely's dialect. Every error comes out as `postgresError` makes it; a connection that broke is thrown away, whoever holds it, and the next
 * one to ask gets a new one.
 */
export function createPostgresPool(options: PostgresOptions, { log }: { log: Logger }): PostgresPool {
  const server = describeServer(options.url);
  const pool = new Pool({
    connectionString: options.url,
    max: options.maxConnections,
    connectionTimeoutMillis: options.connectTimeoutMs,
    idleTimeoutMillis: 60_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    statement_timeout: options.statementTimeoutMs,
    // A transaction whose process hangs must not hold its locks for ever.
    idle_in_transaction_session_timeout: options.statementTimeoutMs,
    query_timeout: options.statementTimeoutMs + SILENCE_MS,
    application_name: "nightshift",
    types: numbersForInt8(),
  });
  // Without a listener, a connection that breaks while nobody waits for it would end the process. Whoever uses it next gets the error.
  pool.on("error", (error) => log.warn({ err: postgresError(error, server) }, "database connection lost"));
  pool.on("connect", (client) => client.on("error", () => {}));
  return {
    async connect() {
      try {
        return wrap(await pool.connect(), server);
      } catch (error) {
        throw postgresError(error, server);
      }
    },
    end: () => pool.end(),
  };
}

function wrap(client: PoolClient, server: string): PostgresPoolClient {
  let lost: Error | null = null;
  return {
    async query(sql: string, parameters: readonly unknown[]) {
      // The rollback of a transaction whose connection broke fails with the reason that it broke for.
      if (lost !== null) throw lost;
      try {
        const { command, rowCount, rows } = isCopy(sql) ? await copyOut(client, sql) : await client.query(sql, [...parameters]);
        return { command, rowCount: rowCount ?? 0, rows };
      } catch (error) {
        const told = postgresError(error, server);
        if (isConnectionLost(error) || sql === "rollback") lost = told;
        throw told;
      }
    },
    release: () => client.release(lost ?? false),
    // The dialect's type also asks for a cursor signature, which it uses only when a cursor was configured.
  } as PostgresPoolClient;
}

/** pg leaves out what COPY sends, but tells its query of every piece. */
function copyOut(client: PoolClient, sql: string): Promise<Pick<QueryResult<CopiedRow>, "command" | "rowCount" | "rows">> {
  return new Promise((resolve, reject) => {
    const rows: CopiedRow[] = [];
    const query = new Query(sql, (error) => {
      if (error) reject(error);
      else resolve({ command: "COPY", rowCount: rows.length, rows });
    });
    // Copied, because the connection writes what comes next over it.
    const handleCopyData = ({ chunk }: { chunk: Buffer }): void => void rows.push({ copied: new Uint8Array(chunk) });
    client.query(Object.assign(query, { handleCopyData }));
  });
}

/** Our int8 values are times, counts and versions, all below 2^53. */
function numbersForInt8(): TypeOverrides {
  const overrides = new TypeOverrides();
  overrides.setTypeParser(types.builtins.INT8, Number);
  return overrides;
}

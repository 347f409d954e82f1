import { NightshiftError, nightshiftError } from "../errors.ts";

/** SQLSTATEs, and classes of them (two characters), that mean the server and not the statement. */
const UNAVAILABLE = new Set([
  "08", // connection exceptions
  "28", // credentials: an operator mends them, and until then whoever has data keeps it
  "3D", // no such database
  "57P01", // shut down by an administrator
  "57P02", // crashed
  "57P03", // starting up, shutting down, in recovery
  "57P05", // idle for too long
  "57014", // statement timeout
  "55P03", // lock timeout
  "25P03", // idle in transaction for too long
  "25006", // read only: a standby, after a failover
  "53", // no memory, no connection slots, a limit; disk full is told apart before
  "58", // the server's own I/O failed
]);
const DISK_FULL = "53100";
const TOO_MANY_CONNECTIONS = "53300";

/** Five characters, one of them a digit at least; what Node says of a socket (`ECONNRESET`, `EPIPE`) or of TLS has none. */
const SQLSTATE = /^(?=.*\d)[0-9A-Z]{5}$/;
/** What pg itself says without any code: of a connection that broke, of its pool, of its own timeouts. */
const CLIENT_SIDE =
  /connection terminated|connection ended|not queryable|client was closed|timeout exceeded when trying to connect|timeout expired|query read timeout|does not support SSL/i;

/** A connection that failed like this is not given back to the pool. */
export function isConnectionLost(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  if (code === undefined) return CLIENT_SIDE.test(message ?? "");
  return !SQLSTATE.test(code) || /^(?:08|57P0)/.test(code);
}

/**
 * What reaches Nightshift of an error of pg: `disk_full`, `store_unavailable`, or the statement's own with SQLSTATE and constraint. Detail, hint and context are
 * left out everywhere: they quote row values, which must not reach a log.
 * @param server As `describeServer` calls it.
 */
export function postgresError(error: unknown, server: string): Error {
  if (error instanceof NightshiftError) return error;
  const { code, constraint } = error as { code?: string; constraint?: string };
  // Of a host with several addresses, Node's error has a code and an empty message.
  const message = (error as Error).message || (code ?? String(error));
  const cause = Object.assign(new Error(message), { code, constraint });
  if (code === DISK_FULL) return nightshiftError("disk_full", { what: "the database", path: `the data directory of ${server}` }, { cause });
  const isServer = code !== undefined && (UNAVAILABLE.has(code) || UNAVAILABLE.has(code.slice(0, 2)));
  if (isServer || isConnectionLost(error)) {
    return nightshiftError("store_unavailable", { problem: `${server}: ${explain(code, message)}` }, { cause });
  }
  return cause;
}

function explain(code: string | undefined, message: string): string {
  if (code === TOO_MANY_CONNECTIONS) return `${message}; lower store.maxConnections or raise the server's max_connections`;
  if (/timeout exceeded when trying to connect/.test(message)) {
    return "no connection within store.connectTimeoutMs: the server does not answer, or all store.maxConnections are busy";
  }
  return code === "57014" ? `${message} (store.statementTimeoutMs)` : message;
}

/** How a server is called in messages: host, port and database, never the user or the password. */
export function describeServer(url: string): string {
  const { hostname, port, pathname } = new URL(url);
  return `PostgreSQL at ${hostname === "" ? "localhost" : hostname}:${port === "" ? "5432" : port}${pathname}`;
}

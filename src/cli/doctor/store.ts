import type { Config } from "../../config.ts";
import { NightshiftError } from "../../errors.ts";
import { silentLog } from "../../log.ts";
import { postgresFacts } from "../../store/postgres-facts.ts";
import { openPostgres } from "../../app/store.ts";
import type { CliContext } from "../context.ts";
import { judgeClock } from "./clock.ts";
import { bad, ok, warn, type Finding } from "./finding.ts";

/** What the configured PostgreSQL says of itself; nothing for the embedded one, which is part of the process. */
export async function checkStore(config: Config, { env }: CliContext): Promise<Finding[]> {
  if (config.store.driver !== "postgres") return [];
  try {
    const database = openPostgres(config.store, { log: silentLog(), env });
    try {
      return judge(await postgresFacts(database), config.store.maxConnections);
    } finally {
      await database.close();
    }
  } catch (error) {
    if (!(error instanceof NightshiftError)) throw error;
    return [bad("database", error.message, error.fix)];
  }
}

function judge(facts: Awaited<ReturnType<typeof postgresFacts>>, wanted: number): Finding[] {
  const { version, isSupported, mayCreate, clockAheadMs, maxConnections } = facts;
  return [
    isSupported ? ok("database", `PostgreSQL ${version}`) : bad("database", `PostgreSQL ${version}`, "Use PostgreSQL 14 or newer."),
    mayCreate
      ? ok("database rights", "may create tables")
      : bad("database rights", "this user may not create tables", "grant create on schema public to it, or make it the database's owner."),
    judgeClock("database clock", clockAheadMs),
    wanted < maxConnections
      ? ok("database connections", `${wanted} of ${maxConnections}`)
      : warn(
          "database connections",
          `${wanted} wanted, the server has ${maxConnections}`,
          "Lower store.maxConnections or raise max_connections.",
        ),
  ];
}

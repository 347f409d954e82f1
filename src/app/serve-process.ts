import { hostname } from "node:os";
import { resolve } from "node:path";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { openArtifacts } from "./artifacts.ts";
import { startControl } from "./control.ts";
import { requireKafka, requirePolicyServers, requirePostgres } from "./shared-parts.ts";
import { createStarted } from "./started.ts";
import { openElection, openPostgres } from "./store.ts";

/** One replica of the control service. */
export interface ServeProcess {
  apiPort: number;
  /** What this replica is called where the leader is named. */
  name: string;
  /** Stops leading, if it does, so that another replica begins at once; then ends what it was at. */
  close(): Promise<void>;
}

/** Longer than a gateway's longest pause between two tries to reach the control service. */
const GATEWAY_GRACE_MS = 6_000;

/**
 * Starts the control service as its own process. Any number may run on one database and one `dataDir` (or copies of its keys and a shared runs directory): one leads.
 * @throws NightshiftError `config_invalid` for embedded parts that processes cannot share, `api_open`, `port_taken`, `store_unavailable`, and what an agent's parts throw
 */
export async function startServeProcess(
  given: Config,
  { log, env }: { log: Logger; env: Record<string, string | undefined> },
): Promise<ServeProcess> {
  const config = { ...given, dataDir: resolve(given.dataDir) };
  const store = requirePostgres(config, "serve");
  requireKafka(config, "serve");
  requirePolicyServers(config, "serve");
  const clock = { now: Date.now, monotonicMs: () => performance.now() };
  const name = `${hostname()}-${process.pid}`;
  const started = createStarted({ log });
  try {
    const database = openPostgres(store, { log, env });
    started.add("store", () => database.close());
    await database.migrate();
    const artifacts = await openArtifacts(config, { env });
    const election = openElection(store, { name }, { database, log, env, ...clock });
    const { apiPort } = await startControl(
      config,
      { gatewayGraceMs: GATEWAY_GRACE_MS },
      { database, artifacts, election, log, env, ...clock },
      started,
    );
    return { apiPort, name, close: () => started.end() };
  } catch (error) {
    await started.end();
    throw error;
  }
}

import { hostname } from "node:os";
import { resolve } from "node:path";
import { openArtifacts } from "./app/artifacts.ts";
import { startCapture } from "./app/capture.ts";
import { startControl } from "./app/control.ts";
import { startLocalGateway } from "./app/local-gateway.ts";
import { createStarted, type Started } from "./app/started.ts";
import { openElection, openStore } from "./app/store.ts";
import { openTransport } from "./app/transport.ts";
import type { Config } from "./config.ts";
import type { Logger } from "./log.ts";

/** Where a running app listens. */
export interface App {
  collectorPort: number;
  /** Null when OTLP/gRPC is switched off. */
  collectorGrpcPort: number | null;
  gatewayPort: number;
  apiPort: number;
  /** Policy server URLs by agent. */
  policyServers: Readonly<Record<string, readonly string[]>>;
  /** Drains, stops every process that it started, closes the store. */
  close(): Promise<void>;
}

interface AppDeps {
  log: Logger;
  /** The entry's environment: the database's URL and judges' keys may be named in it. */
  env: Record<string, string | undefined>;
}

/**
 * Composes all of Nightshift in one process: receiver and ingest, the control service, a gateway, on the embedded parts unless the config names others. The order of
 * starting is the order of the walk; it stops in the opposite order. Starting on the data directory of a process that was killed continues what that one did.
 */
export async function startApp(config: Config, deps: AppDeps): Promise<App> {
  const started = createStarted(deps);
  try {
    return { ...(await start({ ...config, dataDir: resolve(config.dataDir) }, deps, started)), close: () => started.end() };
  } catch (error) {
    await started.end();
    throw error;
  }
}

async function start(config: Config, { log, env }: AppDeps, started: Started): Promise<Omit<App, "close">> {
  const clock = { now: Date.now, monotonicMs: () => performance.now() };
  const database = await openStore(config, { log, env });
  started.add("store", () => database.close());
  await database.migrate();
  const artifacts = await openArtifacts(config, { env });
  const transport = openTransport(config.transport, { log });
  started.add("transport", () => transport.close());
  const capture = await startCapture(config, { database, transport, artifacts, log, now: clock.now });
  started.add("capture", () => capture.close());

  const election = openElection(config.store, { name: `${hostname()}-${process.pid}` }, { database, log, env, ...clock });
  const control = await startControl(config, { gatewayGraceMs: 0 }, { database, artifacts, election, log, env, ...clock }, started);
  const gateway = await startLocalGateway(config, control, { database, collectorPort: capture.port, log, ...clock }, started);
  const policyServers = Object.fromEntries(
    control.agents.map(({ agent, replicas }) => [agent, (replicas.source?.current() ?? replicas.current()).map(({ url }) => url)]),
  );
  const { port: collectorPort, grpcPort: collectorGrpcPort } = capture;
  return { collectorPort, collectorGrpcPort, gatewayPort: gateway.port, apiPort: control.apiPort, policyServers };
}

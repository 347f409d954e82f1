import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { createControl, type Control } from "../../../deploy/quickstart/control.ts";
import { generateDay, generateTraffic, type World } from "../../../deploy/quickstart/customers.ts";
import { startProgram } from "../../../deploy/quickstart/processes.ts";
import { AGENT, quickstartConfig } from "../../../deploy/quickstart/settings.ts";
import { startShop, type RunningShop } from "../../../deploy/quickstart/shop-server.ts";
import { startCapture, type Capture } from "../../../src/app/capture.ts";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { parseConfig } from "../../../src/config.ts";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { createInlineTransport } from "../../../src/transport/inline.ts";
import { killNow } from "../../e2e/processes.ts";
import { ROOT, SMALL, startAgent, startPolicyServer } from "../../e2e/small-shop.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { freePort } from "../parts/process.ts";
import { startBalancer } from "./balancer.ts";
import { LIMITS } from "./limits.ts";
import { createReplicas, type Replicas } from "./replicas.ts";

type Tree = Record<string, unknown>;

/**
 * The quickstart's shop on separate processes, less Kafka: capture runs in the test's process and writes to Postgres; agent, gateway, policy server and replicas of the
 * control service are processes. Nothing of the control service runs before `serveFrom`.
 */
export interface ServedShop {
  directory: string;
  server: PostgresServer;
  shop: RunningShop;
  day: World;
  traffic: World;
  agentUrl: string;
  /** Through the address that all replicas share. */
  control: Control;
  /** Captures into that database from now on, in place of the one before. */
  captureInto(database: string): Promise<Database>;
  /** Ends capture, and with it every connection of this process to the database. */
  endCapture(): Promise<void>;
  /** Replicas on that database, with a data directory of its name; the shared address leads to them from now on. */
  serveFrom(database: string): Promise<Replicas>;
  close(): Promise<void>;
}

export async function createServedShop(options: { contacts: number; seed: number; agent: Tree }): Promise<ServedShop> {
  const cleanups: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  };
  try {
    return { ...(await start(options, cleanups)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function start(
  { contacts, seed, agent }: { contacts: number; seed: number; agent: Tree },
  cleanups: (() => Promise<unknown>)[],
): Promise<Omit<ServedShop, "close">> {
  const kept = async <T>(starting: Promise<T>, stop: (part: T) => Promise<unknown>): Promise<T> => {
    const part = await starting;
    cleanups.push(() => stop(part));
    return part;
  };
  const directory = await kept(mkdtemp(join(tmpdir(), "nightshift-served-")), (path) => rm(path, { recursive: true, force: true }));
  await writeFile(join(directory, "redaction.key"), randomBytes(32));
  const day = generateDay({ seed, contacts });
  const traffic = generateTraffic({ seed, customers: 600 });
  const shop = await kept(startShop({ orders: [...day.orders, ...traffic.orders] }), (one) => one.close());
  const server = await kept(startPostgres({ settings: ["fsync=off"] }), (one) => one.remove());
  const policyServer = await kept(startPolicyServer(), (one) => one.close());
  let replicas: Replicas | null = null;
  const balancer = await kept(
    startBalancer(() => replicas?.running.map(({ ready }) => ready.api) ?? []),
    (one) => one.close(),
  );
  const collectorPort = await freePort();
  const collectorUrl = `http://127.0.0.1:${collectorPort}`;
  const treeOn = (database: string): Tree => {
    const tree = quickstartConfig({ root: ROOT, dataDir: join(directory, database), seed, sabotage: null });
    const agents = tree["agents"] as Record<string, Tree>;
    return {
      ...tree,
      store: { driver: "postgres", urlFile: join(directory, `${database}.url`) },
      // Nobody connects to it: capture is in the test's process.
      transport: { driver: "kafka", brokers: ["127.0.0.1:1"] },
      collector: { port: collectorPort, grpc: { enabled: false } },
      tenants: { default: { redactionKeyFile: join(directory, "redaction.key") } },
      gateway: { port: 0, controlUrl: balancer.url, collectorUrl },
      agents: { [AGENT]: { ...agents[AGENT], ...SMALL, ...agent, policyServers: [{ url: policyServer.url }] } },
    };
  };
  const configOn = async (database: string): Promise<string> => {
    const file = join(directory, `${database}.yaml`);
    await writeFile(join(directory, `${database}.url`), server.urlOf(database));
    await writeFile(file, stringify(treeOn(database)));
    return file;
  };
  const gateway = await kept(
    startProgram<{ gateway: string }>({
      name: "gateway",
      args: [join(ROOT, "src/cli/main.ts"), "gateway", "--config", await configOn("gateway"), "--json"],
      env: {},
      logFile: join(directory, "gateway.log"),
    }),
    ({ child }) => killNow(child),
  );
  const addresses = { collector: collectorUrl, gateway: gateway.ready.gateway, api: balancer.url, policyServers: {} };
  const shopAgent = await kept(startAgent(directory, addresses, shop), ({ child }) => killNow(child));
  const capturing = createCapturing(cleanups);
  return {
    ...{ directory, server, shop, day, traffic },
    agentUrl: shopAgent.ready.url,
    control: createControl(balancer.url, AGENT),
    captureInto: (database) => capturing.into(parseConfig(treeOn(database)), server.urlOf(database)),
    endCapture: capturing.stop,
    async serveFrom(database) {
      const own = createReplicas({ directory, configFile: await configOn(database) });
      cleanups.push(() => own.killAll());
      replicas = own;
      return own;
    },
  };
}

function createCapturing(cleanups: (() => Promise<unknown>)[]) {
  const log = silentLog();
  let running: { capture: Capture; database: Database } | null = null;
  const stop = async (): Promise<void> => {
    await running?.capture.close();
    await running?.database.close();
    running = null;
  };
  cleanups.push(stop);
  return {
    stop,
    async into(config: ReturnType<typeof parseConfig>, url: string): Promise<Database> {
      await stop();
      const database = createPostgres({ ...LIMITS, url }, { log });
      await database.migrate();
      const artifacts = createFileArtifactStore({ dir: join(config.dataDir, "artifacts") });
      const capture = await startCapture(config, { database, transport: createInlineTransport({ log }), artifacts, log, now: Date.now });
      running = { capture, database };
      return database;
    },
  };
}

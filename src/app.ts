import { join, resolve } from "node:path";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import type { AgentControl } from "./api/control.ts";
import { createApi } from "./api/server.ts";
import { startAgentRuntime, type AgentRuntime } from "./app/agent-runtime.ts";
import { baseModelDigest } from "./app/base-model.ts";
import { startCapture } from "./app/capture.ts";
import { createAgentFleet, type Replica } from "./app/fleet.ts";
import { createJudges } from "./app/judges.ts";
import { openStore } from "./app/store.ts";
import { openTransport } from "./app/transport.ts";
import { createFileArtifactStore } from "./artifact/file.ts";
import { loadSigningKey } from "./artifact/signing-key.ts";
import type { AgentConfig, Config } from "./config.ts";
import type { Logger } from "./log.ts";
import { createGatewayRouter } from "./promotion/gateway-router.ts";
import { loadRecordings } from "./rollout/load-recordings.ts";
import { startEmbeddedServer } from "./serving/embedded.ts";
import { createGateway } from "./serving/gateway.ts";
import { createRolloutSessions } from "./serving/rollout-session.ts";
import { createRouteTable } from "./serving/route-table.ts";
import { createVllm } from "./serving/vllm.ts";
import { createLocalJobRunner } from "./training/local.ts";
import { createRunStore } from "./training/run-store.ts";

/** Where a running app listens. */
export interface App {
  collectorPort: number;
  gatewayPort: number;
  apiPort: number;
  /** Policy server URLs by agent. */
  policyServers: Readonly<Record<string, readonly string[]>>;
  /** Drains, stops every process that it started, closes the store. */
  close(): Promise<void>;
}

/** How long a finished call's span may be on its way: the gateway's batch delay, the SDK's, and a sweep. */
const SETTLE_MARGIN_MS = 1_000;
const ROLLOUT_CONNECTIONS = 256;
const MODEL_CALL_TIMEOUT_MS = 120_000;

/** The entry's environment: judges' keys may be named in it. */
type Environment = Record<string, string | undefined>;

interface Cleanup {
  name: string;
  run: () => Promise<void>;
}

/**
 * Composes all of Nightshift in one process on the embedded parts. The order of starting is the order of the walk; it stops in the opposite order. Starting on
 * the data directory of a process that was killed continues what that one did.
 */
export async function startApp(config: Config, deps: { log: Logger; env: Environment }): Promise<App> {
  const cleanups: Cleanup[] = [];
  const close = async (): Promise<void> => {
    for (const { name, run } of cleanups.splice(0).toReversed()) {
      await run().catch((error: unknown) => deps.log.error({ err: error, part: name }, "part did not stop cleanly"));
    }
  };
  try {
    return { ...(await start(config, deps, cleanups)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function start(config: Config, { log, env }: { log: Logger; env: Environment }, cleanups: Cleanup[]): Promise<Omit<App, "close">> {
  const clock = { now: Date.now, monotonicMs: () => performance.now() };
  const dataDir = resolve(config.dataDir);
  const database = await openStore({ store: config.store, dataDir }, { log, env });
  cleanups.push({ name: "store", run: () => database.close() });
  await database.migrate();
  const artifacts = createFileArtifactStore({ dir: join(dataDir, "artifacts") });
  const key = loadSigningKey(join(dataDir, "keys"));
  const transport = openTransport(config.transport, { log });
  cleanups.push({ name: "transport", run: () => transport.close() });
  const capture = await startCapture({ ...config, dataDir }, { database, transport, log, now: clock.now });
  cleanups.push({ name: "capture", run: () => capture.close() });

  const runtimes = new Map<string, AgentRuntime>();
  const router = createGatewayRouter({ database, log });
  const routeTable = await createRouteTable(
    { leaseMs: config.gateway.leaseMs, file: join(dataDir, "gateway", "routes.json") },
    { monotonicMs: clock.monotonicMs, log, onLapse: (agent) => runtimes.get(agent)?.noteLeaseLapse() },
  );
  router.subscribe((routes) => routeTable.receive(routes));
  const runs = createRunStore(database, clock.now);
  const jobRunner = createLocalJobRunner({ python: resolve(config.python), trainerDirectory: trainerDirectory() }, { log });
  cleanups.push({ name: "trainer", run: () => jobRunner.close() });
  const runsDirectory = join(dataDir, "runs");

  for (const [agent, agentConfig] of Object.entries(config.agents)) {
    const absolute: AgentConfig = { ...agentConfig, baseModel: resolve(agentConfig.baseModel) };
    const shared = { ...{ database, artifacts, jobRunner, runs, key, log, env, router, runsDirectory, dataDir }, ...clock };
    const runtime = await startAgent(
      agent,
      absolute,
      config,
      { ...shared, publishRoutes: (routes) => routeTable.receive(routes) },
      cleanups,
    );
    runtimes.set(agent, runtime);
    cleanups.push({ name: agent, run: () => runtime.close() });
  }

  const gateway = createGateway(
    { gateway: config.gateway, agents: [...runtimes.values()].map(gatewayAgent) },
    {
      routes: routeTable,
      rollouts: createRolloutSessions(),
      log,
      spanExporter: new OTLPTraceExporter({ url: `http://127.0.0.1:${capture.port}/v1/traces` }),
      monotonicMs: clock.monotonicMs,
    },
  );
  const { port: gatewayPort } = await gateway.start();
  cleanups.push({ name: "gateway", run: () => gateway.close() });
  const agents = new Map([...runtimes].map(([agent, runtime]) => [agent, controlOf(runtime, database, clock.now)]));
  const api = createApi(config.api, { database, artifacts, runs, router, agents, runsDirectory, log, now: clock.now });
  const { port: apiPort } = await api.start();
  cleanups.push({ name: "api", run: () => api.close() });
  const policyServers = Object.fromEntries([...runtimes].map(([agent, { fleet }]) => [agent, fleet.replicas.map(({ url }) => url)]));
  return { collectorPort: capture.port, gatewayPort, apiPort, policyServers };
}

type AgentParts = Omit<Parameters<typeof startAgentRuntime>[1], "fleet" | "judge" | "pairJudge" | "recordings"> & {
  env: Environment;
  runsDirectory: string;
  dataDir: string;
};

async function startAgent(
  agent: string,
  agentConfig: AgentConfig,
  config: Config,
  parts: AgentParts,
  cleanups: Cleanup[],
): Promise<AgentRuntime> {
  const { database, log, dataDir, runsDirectory } = parts;
  const base = await baseModelDigest(agent, agentConfig, join(dataDir, "base-digests.json"));
  const judges = await createJudges(agentConfig, parts);
  const replicas = await startReplicas(agent, agentConfig, config, log, cleanups);
  const fleet = createAgentFleet({ agent, config: agentConfig, replicas, baseDigest: base }, parts);
  const settleMs = config.capture.graceMs + config.capture.sweepMs + SETTLE_MARGIN_MS;
  return startAgentRuntime(
    { agent, config: agentConfig, baseDigest: base, runsDirectory, settleMs },
    { ...parts, ...judges, fleet, recordings: (options) => loadRecordings(database, { agent, config: agentConfig, ...options }) },
  );
}

async function startReplicas(
  agent: string,
  agentConfig: AgentConfig,
  config: Config,
  log: Logger,
  cleanups: Cleanup[],
): Promise<Replica[]> {
  const connect = (url: string): ReturnType<typeof createVllm> => {
    const server = createVllm({ url, timeoutMs: MODEL_CALL_TIMEOUT_MS, connections: ROLLOUT_CONNECTIONS });
    cleanups.push({ name: `client of ${url}`, run: () => server.close() });
    return server;
  };
  if (agentConfig.policyServers.length > 0) {
    return agentConfig.policyServers.map(({ url }, index) => ({
      name: `${agent}-${index}`,
      url,
      policyServer: connect(url),
      // A server that nobody watches as a process tells of a restart by what it lost.
      instance: () => Promise.resolve(null),
    }));
  }
  const options = { python: resolve(config.python), trainerDirectory: trainerDirectory(), model: agentConfig.baseModel };
  const starts = Array.from({ length: agentConfig.embeddedReplicas }, async (_, index): Promise<Replica> => {
    const embedded = await startEmbeddedServer({ ...options, servedModelName: agentConfig.model, port: 0 }, { log });
    cleanups.push({ name: `policy server ${index}`, run: () => embedded.close() });
    const { url } = embedded;
    return { name: `${agent}-${index}`, url, policyServer: connect(url), instance: () => Promise.resolve(embedded.instance()) };
  });
  const settled = await Promise.allSettled(starts);
  return settled.map((start) => {
    if (start.status === "rejected") throw start.reason;
    return start.value;
  });
}

function gatewayAgent({ agent, config, baseDigest: digest, fleet }: AgentRuntime): Parameters<typeof createGateway>[0]["agents"][number] {
  return {
    agent,
    model: config.model,
    base: { name: config.model, digest },
    upstreams: fleet.replicas.map(({ url }) => ({ url })),
    serviceName: config.match.serviceName ?? agent,
    agentName: config.match.agentName,
  };
}

function controlOf(runtime: AgentRuntime, database: Parameters<typeof loadRecordings>[0], now: () => number): AgentControl {
  const { agent, config, baseDigest: digest, nightShift, fleet } = runtime;
  return {
    agent,
    config,
    baseDigest: digest,
    async startRun() {
      const started = await nightShift.start();
      runtime.wake();
      return started;
    },
    dryRun: () => nightShift.dryRun(),
    recordings: () => loadRecordings(database, { agent, config, nowMs: now() }),
    replicas: () =>
      Promise.all(
        fleet.replicas.map(async ({ name, url, policyServer }) => ({
          name,
          url,
          models: (await policyServer.models())?.map(({ id }) => id) ?? null,
        })),
      ),
    wake: () => runtime.wake(),
  };
}

/** The trainer's package beside this one, from source and from the built tree alike. */
function trainerDirectory(): string {
  const here = import.meta.dirname;
  return resolve(here, here.includes("/dist/") ? "../../trainer" : "../trainer");
}

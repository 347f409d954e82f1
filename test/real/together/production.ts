import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { createControl, type Control } from "../../../deploy/quickstart/control.ts";
import { generateDay, generateTraffic, type World } from "../../../deploy/quickstart/customers.ts";
import { startProgram, type Started } from "../../../deploy/quickstart/processes.ts";
import { AGENT, PRODUCTION_TEMPERATURE, quickstartConfig, TELEMETRY_DELAY_MS } from "../../../deploy/quickstart/settings.ts";
import { startShop, type RunningShop } from "../../../deploy/quickstart/shop-server.ts";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { killNow } from "../../e2e/processes.ts";
import { ROOT } from "../../e2e/small-shop.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { freePort } from "../parts/process.ts";
import { startVllm, type VllmServer } from "../parts/vllm.ts";
import { LIMITS } from "../postgres/limits.ts";

type Tree = Record<string, unknown>;

/** What a production team runs: every part of Nightshift a process of its own, on Kafka, PostgreSQL and two vLLM replicas, beside the quickstart's shop. */
export interface Production {
  directory: string;
  shop: RunningShop;
  day: World;
  /** Live customers for the canaries. */
  traffic: World;
  vllm: readonly VllmServer[];
  /** Of the adapter agents, in the order of the replicas. */
  readinessUrls: readonly string[];
  kafka: KafkaServer;
  postgres: PostgresServer;
  database: Database;
  /** Where the shop's agent answers. */
  agentUrl: string;
  /** Base URL for any OpenAI client. */
  gatewayUrl: string;
  control: Control;
  /** Starts `nightshift serve`, after ending the one before; `agent` is merged over the agent's part of the config. */
  serve(agent: Tree): Promise<Started<unknown>>;
  /** The `nightshift serve` of now. */
  serving(): Started<unknown>;
  /** Starts `nightshift gateway` anew on its port, with this merged over its part of the config. */
  gateway(over: Tree): Promise<void>;
  /** An operator's action on an experiment. */
  act(experimentId: string, action: string): Promise<void>;
  close(): Promise<void>;
}

export const LEASE_MS = 15_000;

const MAIN = join(ROOT, "src/cli/main.ts");
const MODEL = join(ROOT, "deploy/quickstart/model");
const TOPICS = ["otlp_spans", "otlp_logs", "nightshift_dead_letter"];

interface ProductionOptions {
  seed: number;
  /** Visits of the day. */
  contacts: number;
  /** Merged over the agent's part of the quickstart's config. */
  agent: Tree;
}

export async function startProduction(options: ProductionOptions): Promise<Production> {
  const directory = await mkdtemp(join(tmpdir(), "nightshift-production-"));
  const cleanups: (() => Promise<unknown>)[] = [() => rm(directory, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  };
  try {
    return { ...(await start(options, directory, cleanups)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function start(
  { seed, contacts, agent }: ProductionOptions,
  directory: string,
  cleanups: (() => Promise<unknown>)[],
): Promise<Omit<Production, "close">> {
  const day = generateDay({ seed, contacts });
  const traffic = generateTraffic({ seed, customers: 1_200 });
  const shop = await startShop({ orders: [...day.orders, ...traffic.orders] });
  cleanups.push(() => shop.close());
  const parts = await startParts(cleanups);
  const ports = {
    collector: await freePort(),
    gateway: await freePort(),
    api: await freePort(),
    agents: [await freePort(), await freePort()],
  };
  await writeFile(join(directory, "url"), parts.postgres.url);
  const tree = (over: Tree): Tree => configTree({ directory, seed, ports, parts }, over);
  const configFile = join(directory, "nightshift.yaml");
  await writeFile(configFile, stringify(tree(agent)));
  const run = async <Ready>(command: string, name: string, args: readonly string[] = [], file = configFile): Promise<Started<Ready>> => {
    const started = await startProgram<Ready>({
      name,
      args: [MAIN, command, "--config", file, "--json", ...args],
      env: {},
      logFile: join(directory, `${name}.log`),
    });
    cleanups.push(() => killNow(started.child));
    return started;
  };
  let serves = 0;
  let running: Started<unknown> | null = null;
  const serve = async (over: Tree): Promise<Started<unknown>> => {
    await running?.stop();
    await writeFile(configFile, stringify(tree({ ...agent, ...over })));
    serves += 1;
    running = await run("serve", `serve-${serves}`);
    return running;
  };
  const first = await serve({});
  for (const [index, port] of ports.agents.entries()) {
    const file = join(directory, `agent-${index}.yaml`);
    const whole = tree(agent);
    await writeFile(file, stringify({ ...whole, adapterAgent: { ...(whole["adapterAgent"] as Tree), port } }));
    await run("adapter-agent", `agent-of-vllm-${index}`, ["--replica", `vllm-${index}`], file);
  }
  const collector = await run<{ collector: string }>("collector", "collector");
  await Promise.all([run("ingest", "ingest-0"), run("ingest", "ingest-1")]);
  let gateway = await run<{ gateway: string }>("gateway", "gateway");
  const shopAgent = await startProgram<{ url: string }>({
    name: "agent",
    args: [join(ROOT, "deploy/quickstart/agent.ts")],
    env: agentEnvironment({ gateway: gateway.ready.gateway, collector: collector.ready.collector, shop: shop.url }),
    logFile: join(directory, "agent.log"),
  });
  cleanups.push(() => killNow(shopAgent.child));
  const database = createPostgres({ ...LIMITS, url: parts.postgres.url }, { log: silentLog() });
  cleanups.push(() => database.close());
  const control = createControl(`http://127.0.0.1:${ports.api}`, AGENT);
  return {
    ...{ directory, shop, day, traffic, database, control, serve, ...parts },
    readinessUrls: ports.agents.map(readinessUrl),
    ...{ agentUrl: shopAgent.ready.url, gatewayUrl: gateway.ready.gateway },
    serving: () => running ?? first,
    async gateway(over) {
      await gateway.stop();
      const whole = tree(agent);
      const file = join(directory, "gateway.yaml");
      await writeFile(file, stringify({ ...whole, gateway: { ...(whole["gateway"] as Tree), ...over } }));
      gateway = await run("gateway", "gateway-again", [], file);
    },
    async act(experimentId, action) {
      const answer = await fetch(`http://127.0.0.1:${ports.api}/v1/experiments/${experimentId}/actions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ action }),
      });
      if (!answer.ok) throw new Error(`${action} answered ${answer.status}: ${await answer.text()}`);
    },
  };
}

const readinessUrl = (port: number): string => `http://127.0.0.1:${port}/ready`;

interface Ports {
  collector: number;
  gateway: number;
  api: number;
  /** Of the adapter agents, by replica. */
  agents: readonly number[];
}

interface Parts {
  kafka: KafkaServer;
  postgres: PostgresServer;
  vllm: readonly VllmServer[];
}

async function startParts(cleanups: (() => Promise<unknown>)[]): Promise<Parts> {
  const kept = async <T>(starting: Promise<T>, stop: (part: T) => Promise<unknown>): Promise<T> => {
    const part = await starting;
    cleanups.push(() => stop(part));
    return part;
  };
  // More slots than loads in all, and every adapter is loaded twice, to be proven first: vLLM on the CPU answers for the base with the last slot's weights once
  // that is taken.
  const sizes = { maxModelLen: 1_024, maxNumSeqs: 64, maxLoraRank: 8, maxLoras: 64 };
  const vllm = () => kept(startVllm({ model: MODEL, name: AGENT, ...sizes }), (server) => server.stop());
  const [kafka, postgres, ...replicas] = await Promise.all([
    kept(startKafka(), (server) => server.close()),
    kept(startPostgres(), (server) => server.remove()),
    vllm(),
    vllm(),
  ]);
  for (const topic of TOPICS) await kafka.createTopic(topic, { partitions: 3 });
  return { kafka, postgres, vllm: replicas };
}

function configTree(options: { directory: string; seed: number; ports: Ports; parts: Parts }, agent: Tree): Tree {
  const { directory, seed, ports, parts } = options;
  const dataDir = join(directory, "data");
  const tree = quickstartConfig({ root: ROOT, dataDir, seed, sabotage: null });
  const agents = tree["agents"] as Record<string, Tree>;
  const policyServers = parts.vllm.map(({ url }, index) => ({
    ...{ url, name: `vllm-${index}`, adapterAgent: true },
    readinessUrl: readinessUrl(ports.agents[index] ?? 0),
  }));
  const controlUrl = `http://127.0.0.1:${ports.api}`;
  return {
    ...tree,
    store: { driver: "postgres", urlFile: join(directory, "url") },
    transport: { driver: "kafka", brokers: parts.kafka.brokers, sessionTimeoutMs: 6_000 },
    collector: { port: ports.collector, grpc: { port: 0 } },
    ingest: { port: 0 },
    gateway: { port: ports.gateway, leaseMs: LEASE_MS, controlUrl, collectorUrl: `http://127.0.0.1:${ports.collector}` },
    api: { port: ports.api },
    adapterAgent: { port: 0, controlUrl, publicKeyFile: join(dataDir, "keys/adapter-signing.pub.pem") },
    agents: { [AGENT]: { ...agents[AGENT], policyServers, ...agent } },
  };
}

function agentEnvironment({ gateway, collector, shop }: { gateway: string; collector: string; shop: string }): Record<string, string> {
  return {
    PORT: "0",
    MODEL: AGENT,
    SHOP_URL: shop,
    TEMPERATURE: String(PRODUCTION_TEMPERATURE),
    OPENAI_BASE_URL: gateway,
    OPENAI_API_KEY: "not-needed-here",
    OTEL_SERVICE_NAME: AGENT,
    OTEL_BSP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
    OTEL_BLRP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: "true",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector,
  };
}

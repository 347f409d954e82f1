import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { createControl, type Control } from "../../deploy/quickstart/control.ts";
import { generateDay, generateTraffic, type World } from "../../deploy/quickstart/customers.ts";
import { startProgram, type Started } from "../../deploy/quickstart/processes.ts";
import { AGENT, PRODUCTION_TEMPERATURE, quickstartConfig, TELEMETRY_DELAY_MS } from "../../deploy/quickstart/settings.ts";
import { startShop, type RunningShop } from "../../deploy/quickstart/shop-server.ts";
import { startEmbeddedServer, type EmbeddedServer } from "../../src/serving/embedded.ts";
import { silentLog } from "../../src/log.ts";
import { killNow } from "./processes.ts";

export const ROOT = resolve(import.meta.dirname, "../..");
const BASE_MODEL = join(ROOT, "deploy/quickstart/model");
const PYTHON = join(ROOT, ".venv/bin/python");

export interface UpReady {
  collector: string;
  gateway: string;
  api: string;
  policyServers: Record<string, string[]>;
}

type Tree = Record<string, unknown>;

/** A directory of its own with the quickstart's shop, and Nightshift with small numbers beside it. */
export interface SmallShop {
  directory: string;
  dataDir: string;
  shop: RunningShop;
  day: World;
  traffic: World;
  /** Writes the config with `agent` merged over the agent's part; listeners keep the ports of the first start. */
  configure(agent: Tree): Promise<void>;
  /** Starts `nightshift up`; resolves when it is ready. */
  up(): Promise<Started<UpReady>>;
  /** Starts `nightshift up` and does not wait. */
  upUnready(): ChildProcess;
  /** Starts the gateway alone, with the control side and the collector of an `up` that has been ready once. */
  gatewayAlone(): Promise<Started<{ gateway: string }>>;
  /** Starts the shop's agent against an `up` that has been ready once, or against another gateway. */
  agent(gateway?: string): Promise<Started<{ url: string }>>;
  control(): Control;
  /** Ends and deletes everything that was started here. */
  close(): Promise<void>;
}

/** What most tests here need: two short iterations, no gate, a canary that ends soon. */
export const SMALL: Tree = {
  embeddedReplicas: 1,
  night: {
    iterations: 2,
    scenarios: 6,
    groupSize: 4,
    seed: 1,
    lora: { rank: 4, alpha: 16 },
    learningRate: 1e-3,
    minibatches: 1,
    batchDeadlineMs: 120_000,
    heartbeatTimeoutMs: 60_000,
    probe: { members: 0 },
  },
  replay: { maxCalls: 6, concurrency: 16, minPredictedCoverage: 0 },
  gate: { enabled: false },
  outcome: { feedback: "task_success", horizonMs: 3_000 },
  canary: {
    mode: "non-inferior",
    delta: 0.45,
    lambda0: 0.5,
    ramp: [{ weight: 0.3, untilUnits: 8 }, { weight: 0.5 }],
    maxUnits: 40,
    lookEvery: 2,
    dwellMs: 0,
    deadlineMs: 60_000,
    minCandidateUnits: 4,
  },
};

export async function createSmallShop(options: { contacts: number; seed: number }): Promise<SmallShop> {
  const directory = await mkdtemp(join(tmpdir(), "nightshift-e2e-"));
  const dataDir = join(directory, "data");
  const configFile = join(directory, "nightshift.yaml");
  const day = generateDay({ seed: options.seed, contacts: options.contacts });
  const traffic = generateTraffic({ seed: options.seed, customers: 300 });
  const shop = await startShop({ orders: [...day.orders, ...traffic.orders] });
  const running: Started<unknown>[] = [];
  const unready: ChildProcess[] = [];
  const upArgs = [join(ROOT, "src/cli/main.ts"), "up", "--config", configFile, "--json"];
  let ready: UpReady | null = null;
  let starts = 0;
  return {
    ...{ directory, dataDir, shop, day, traffic },
    configure: (agent) => writeFile(configFile, stringify(treeOf(dataDir, agent, ready))),
    async up() {
      starts += 1;
      const started = await startProgram<UpReady>({ name: "up", args: upArgs, env: {}, logFile: join(directory, `up-${starts}.log`) });
      running.push(started);
      ready ??= started.ready;
      return started;
    },
    upUnready() {
      const child = spawn(process.execPath, upArgs, { stdio: "ignore" });
      unready.push(child);
      return child;
    },
    async gatewayAlone() {
      if (ready === null) throw new Error("the gateway needs the addresses of an `up` that has been ready");
      const args = [join(ROOT, "src/cli/main.ts"), "gateway", "--config", configFile, "--json"];
      const env = {
        NIGHTSHIFT_GATEWAY__PORT: "0",
        NIGHTSHIFT_GATEWAY__CONTROL_URL: ready.api,
        NIGHTSHIFT_GATEWAY__COLLECTOR_URL: ready.collector,
      };
      const gateway = await startProgram<{ gateway: string }>({ name: "gateway", args, env, logFile: join(directory, "gateway.log") });
      running.push(gateway);
      return gateway;
    },
    async agent(gateway) {
      if (ready === null) throw new Error("the agent needs the addresses of an `up` that has been ready");
      const agent = await startAgent(directory, { ...ready, gateway: gateway ?? ready.gateway }, shop);
      running.push(agent);
      return agent;
    },
    control() {
      if (ready === null) throw new Error("nothing has been ready yet");
      return createControl(ready.api, AGENT);
    },
    async close() {
      await Promise.all([...running.map(({ child }) => child), ...unready].map(killNow));
      await shop.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function treeOf(dataDir: string, agent: Tree, ready: UpReady | null): Tree {
  const tree = quickstartConfig({ root: ROOT, dataDir, seed: 1, sabotage: null });
  const agents = tree["agents"] as Record<string, Tree>;
  const listeners = (["collector", "gateway", "api"] as const).map((name) => [
    name,
    { port: ready === null ? 0 : Number(new URL(ready[name]).port) },
  ]);
  return { ...tree, ...Object.fromEntries(listeners), agents: { [AGENT]: { ...agents[AGENT], ...agent } } };
}

/** The shop's agent, whose model calls go to the gateway and whose telemetry goes to the collector. */
export function startAgent(directory: string, up: UpReady, shop: RunningShop): Promise<Started<{ url: string }>> {
  return startProgram({
    name: "agent",
    args: [join(ROOT, "deploy/quickstart/agent.ts")],
    env: {
      PORT: "0",
      MODEL: AGENT,
      SHOP_URL: shop.url,
      TEMPERATURE: String(PRODUCTION_TEMPERATURE),
      OPENAI_BASE_URL: up.gateway,
      OPENAI_API_KEY: "not-needed-here",
      OTEL_SERVICE_NAME: AGENT,
      OTEL_EXPORTER_OTLP_ENDPOINT: up.collector,
      OTEL_BSP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
      OTEL_BLRP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
      OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: "true",
    },
    logFile: join(directory, "agent.log"),
  });
}

/** A policy server that outlives every restart of `up`. */
export function startPolicyServer(): Promise<EmbeddedServer> {
  return startEmbeddedServer(
    { python: PYTHON, trainerDirectory: join(ROOT, "trainer"), model: BASE_MODEL, servedModelName: AGENT, port: 0 },
    { log: silentLog() },
  );
}

import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { startProgram } from "../../../deploy/quickstart/processes.ts";
import { AGENT, quickstartConfig } from "../../../deploy/quickstart/settings.ts";
import { killNow } from "../../e2e/processes.ts";
import { ROOT } from "../../e2e/small-shop.ts";
import { RULES_FILE } from "../../deploy/observability-files.ts";
import { startKafka } from "../parts/kafka.ts";
import { startPostgres } from "../parts/postgres.ts";
import { freePort } from "../parts/process.ts";
import { startPrometheus, type PrometheusServer } from "../parts/prometheus.ts";

const MAIN = join(ROOT, "src/cli/main.ts");
const TOPICS = ["otlp_spans", "otlp_logs", "nightshift_dead_letter"];

/** Every kind of process, in the order in which they start; `collector-alone` is collector/main.ts. */
export const PROCESSES = ["serve", "collector", "collector-alone", "ingest", "gateway", "adapter-agent", "up"] as const;
export type ProcessName = (typeof PROCESSES)[number];

/** All processes of Nightshift on Kafka and PostgreSQL, watched by a real Prometheus that scrapes them and is sent their OTLP. Their one policy server does not answer. */
export interface Stand {
  prometheus: PrometheusServer;
  /** Base URL of the OTLP receiver of the process `collector`. */
  collectorUrl: string;
  /** `host:port` of each process's metrics. */
  targets: Readonly<Record<ProcessName, string>>;
  children: Readonly<Record<ProcessName, ChildProcess>>;
  close(): Promise<void>;
}

export async function startStand(): Promise<Stand> {
  const directory = await mkdtemp(join(tmpdir(), "nightshift-observe-"));
  const cleanups: (() => Promise<unknown>)[] = [() => rm(directory, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  };
  try {
    return { ...(await start(directory, cleanups)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function start(directory: string, cleanups: (() => Promise<unknown>)[]): Promise<Omit<Stand, "close">> {
  const [kafka, postgres] = await Promise.all([startKafka(), startPostgres()]);
  cleanups.push(
    () => kafka.close(),
    () => postgres.remove(),
  );
  for (const topic of TOPICS) await kafka.createTopic(topic, { partitions: 2 });
  const ports: [ProcessName, number][] = [];
  for (const name of PROCESSES) ports.push([name, await freePort()]);
  const targets = Object.fromEntries(ports.map(([name, port]) => [name, `127.0.0.1:${port}`])) as Record<ProcessName, string>;
  const prometheus = await startPrometheus({ targets: Object.values(targets), rules: RULES_FILE });
  cleanups.push(() => prometheus.close());
  await writeFile(join(directory, "url"), postgres.url);
  const files = await writeConfigs(directory, { brokers: kafka.brokers, apiPort: await freePort(), otlpUrl: prometheus.otlpUrl });
  const children = {} as Record<ProcessName, ChildProcess>;
  let collectorUrl = "";
  for (const [name, port] of ports) {
    const command = name === "collector-alone" ? [join(ROOT, "collector/main.ts")] : [MAIN, name, "--json"];
    const replica = name === "adapter-agent" ? ["--replica", "vllm-0"] : [];
    const started = await startProgram<{ collector?: string }>({
      name,
      args: [...command, "--config", name === "up" ? files.up : files.shared, ...replica],
      env: { NIGHTSHIFT_TELEMETRY__PROMETHEUS__PORT: String(port) },
      logFile: join(directory, `${name}.log`),
    });
    cleanups.push(() => killNow(started.child));
    children[name] = started.child;
    if (name === "collector") collectorUrl = started.ready.collector ?? "";
  }
  return { prometheus, collectorUrl, targets, children };
}

async function writeConfigs(
  directory: string,
  { brokers, apiPort, otlpUrl }: { brokers: readonly string[]; apiPort: number; otlpUrl: string },
): Promise<{ shared: string; up: string }> {
  const dataDir = join(directory, "data");
  const quickstart = quickstartConfig({ root: ROOT, dataDir, seed: 1, sabotage: null });
  const agents = quickstart["agents"] as Record<string, Record<string, unknown>>;
  const controlUrl = `http://127.0.0.1:${apiPort}`;
  const policyServers = [{ name: "vllm-0", url: `http://127.0.0.1:${await freePort()}`, adapterAgent: true }];
  const telemetry = { prometheus: {}, otlpEndpoint: otlpUrl };
  const listeners = { collector: { port: 0, grpc: { port: 0 } }, gateway: { port: 0 }, api: { port: 0 } };
  const shared = {
    ...{ ...quickstart, ...listeners, telemetry },
    store: { driver: "postgres", urlFile: join(directory, "url") },
    transport: { driver: "kafka", brokers, sessionTimeoutMs: 6_000 },
    ingest: { port: 0 },
    gateway: { port: 0, controlUrl },
    api: { port: apiPort },
    adapterAgent: { port: 0, controlUrl, publicKeyFile: join(dataDir, "keys/adapter-signing.pub.pem") },
    agents: { [AGENT]: { ...agents[AGENT], policyServers } },
  };
  const up = { ...listeners, telemetry, dataDir: join(directory, "up"), logLevel: "info" };
  const files = { shared: join(directory, "nightshift.yaml"), up: join(directory, "up.yaml") };
  await writeFile(files.shared, stringify(shared));
  await writeFile(files.up, stringify(up));
  return files;
}

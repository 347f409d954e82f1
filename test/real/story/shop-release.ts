import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { V1Pod, V1Service } from "@kubernetes/client-node";
import { createControl, type Control } from "../../../deploy/quickstart/control.ts";
import { startProgram } from "../../../deploy/quickstart/processes.ts";
import { PRODUCTION_TEMPERATURE, TELEMETRY_DELAY_MS } from "../../../deploy/quickstart/settings.ts";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { killNow, until } from "../../e2e/processes.ts";
import { startKafka } from "../parts/kafka.ts";
import { startPostgres } from "../parts/postgres.ts";
import { freePort } from "../parts/process.ts";
import { NETWORK } from "../kubernetes/bridge.ts";
import { startCluster, type Cluster } from "../kubernetes/cluster.ts";
import type { Image } from "../kubernetes/container.ts";
import { productImages, vllmImage } from "../kubernetes/images.ts";
import { LIMITS } from "../postgres/limits.ts";
import { patient } from "./patience.ts";
import { openReader, type Reader, type Surroundings, type Tree } from "./reader.ts";
import { shopValues } from "./shop-values.ts";
import { startWitness, type Witness } from "./witness.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
/** As the guide calls them. */
export const NAMESPACE = "nightshift";
export const RELEASE = "nightshift";
const AGENT = "support";
/** What the containers wrote stays, so that a story that failed can be read. */
const LOGS = join(ROOT, ".cache/reports/kubernetes-story");

/** The quickstart's shop with its agent beside a chart that docs/kubernetes.md has installed: Kafka and PostgreSQL are outside the cluster, all of Nightshift and vLLM are its pods. */
export interface ShopRelease {
  cluster: Cluster;
  /** Who follows the guide. */
  reader: Reader;
  /** Its runs begin by the CronJob's schedule. */
  control: Control;
  /** Where the shop's agent answers. */
  agentUrl: string;
  /** Sees every call of the agent to the gateway. */
  witness: Witness;
  /** The release's own, read beside it. */
  database: Database;
  /** By digest: what policy servers call the models that have been stable or a candidate so far. */
  names: ReadonlyMap<string, string>;
  /** What the guide's install has said. */
  installed: string;
  /** By the guide's own Job of the CronJob. Resolves to the run's id. */
  firstNight(): Promise<string>;
  /** The same chart, with this merged over the agent's part of the config. */
  upgrade(agent: Tree): Promise<void>;
  close(): Promise<void>;
}

/** @param agent Merged over the quickstart's agent. */
export async function installShop(options: { shopUrl: string; seed: number; agent: Tree }): Promise<ShopRelease> {
  const directory = mkdtempSync(join(tmpdir(), "nightshift-release-"));
  const cleanups: (() => Promise<unknown>)[] = [async () => rmSync(directory, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  };
  try {
    return { ...(await install(options, directory, cleanups)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function install(
  { shopUrl, seed, agent }: { shopUrl: string; seed: number; agent: Tree },
  directory: string,
  cleanups: (() => Promise<unknown>)[],
): Promise<Omit<ShopRelease, "close">> {
  rmSync(LOGS, { recursive: true, force: true });
  // One GPU for vLLM, one for the trainer, on the node that the guide's values want for it.
  const cluster = await startCluster({ images: imagesIn(directory), gpus: 2, labels: { pool: "gpu-training" }, logs: LOGS });
  cleanups.push(() => cluster.close());
  const { ownUrl, ...outside } = await startOutside(cluster, cleanups);
  const reader = await openReader(cluster, { ...outside, home: directory });
  cleanups.push(() => reader.close());
  const { installed, writeValues } = await follow(reader, { seed, agent });
  const { witness, agentUrl } = await startAgent({ cluster, reader, shopUrl }, cleanups);
  const database = createPostgres({ ...LIMITS, url: ownUrl }, { log: silentLog() });
  cleanups.push(() => database.close());
  const names = new Map<string, string>();
  const serve = await addressOf(cluster, `${RELEASE}-serve`, NAMESPACE);
  const control = noting(names, patient(createControl(`http://${serve}:4400`, AGENT, reader.token("operator"))));
  const next = async (begin: () => Promise<unknown>): Promise<string> => {
    const before = (await control.status()).run?.id ?? null;
    await begin();
    return until("there is a run", 150_000, async () => {
      const run = (await control.status()).run;
      return run === null || run.id === before ? null : run.id;
    });
  };
  return {
    ...{ cluster, reader, witness, database, names, agentUrl, installed },
    control: { ...control, startRun: () => cronJobFires(cluster, next) },
    firstNight: () => next(() => reader.follow("The first night 1")),
    async upgrade(over) {
      writeValues({ ...agent, ...over });
      await reader.follow("Upgrade 1");
      // A night of the new values is begun by a new leader: the old one leads until it has ended.
      await until("the pods of before are gone", 120_000, async () => ((await leaving(cluster)).length === 0 ? true : null));
    },
  };
}

/** The guide from its beginning to pods that are ready. */
async function follow(
  reader: Reader,
  { seed, agent }: { seed: number; agent: Tree },
): Promise<{ installed: string; writeValues: (agent: Tree) => void }> {
  await reader.follow("What must be there 2");
  await reader.follow("Secrets 1");
  await reader.follow("The base model 1");
  await reader.follow("Without a bucket 1");
  const guide = [reader.understand("Values 1"), reader.understand("Without a bucket 2")];
  const writeValues = (agent: Tree): void => reader.writeValues(...guide, shopValues({ seed, name: AGENT, agent }));
  writeValues(agent);
  return { installed: await reader.follow("Install 1"), writeValues };
}

/** Those of deploy/Dockerfile have the command line where the guide calls it. */
function imagesIn(directory: string): Record<string, Image> {
  const commands = join(directory, "vllm");
  mkdirSync(commands);
  const main = join(directory, "main.js");
  writeFileSync(main, `import(${JSON.stringify(join(ROOT, "src/cli/main.ts"))});\n`);
  const { nightshift, ...images } = productImages();
  if (nightshift === undefined) throw new Error("no image nightshift");
  const folders = [...(nightshift.folders ?? []), { source: main, target: "/app/dist/src/cli/main.js" }];
  return { ...images, nightshift: { ...nightshift, folders }, "vllm-openai": vllmImage(commands) };
}

/** With the variables of the guide. Names of Services are addresses here: the shop is no pod. */
async function startAgent(
  { cluster, reader, shopUrl }: { cluster: Cluster; reader: Reader; shopUrl: string },
  cleanups: (() => Promise<unknown>)[],
): Promise<{ witness: Witness; agentUrl: string }> {
  const { env } = reader.understand("The agent 1") as { env: { name: string; value: string }[] };
  const variables = Object.fromEntries(env.map(({ name, value }) => [name, value]));
  const resolved = async (name: string): Promise<URL> => {
    const url = new URL(variables[name] ?? "");
    const [service = "", namespace = ""] = url.hostname.split(".");
    url.hostname = await addressOf(cluster, service, namespace);
    return url;
  };
  const gateway = await resolved("OPENAI_BASE_URL");
  const witness = await startWitness(gateway.origin);
  cleanups.push(() => witness.close());
  const agent = await startProgram<{ url: string }>({
    name: "agent",
    args: [join(ROOT, "deploy/quickstart/agent.ts")],
    env: {
      ...variables,
      PORT: "0",
      MODEL: "support-bot",
      SHOP_URL: shopUrl,
      TEMPERATURE: String(PRODUCTION_TEMPERATURE),
      OPENAI_BASE_URL: `${witness.url}${gateway.pathname}`,
      OPENAI_API_KEY: "not-needed-here",
      OTEL_BSP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
      OTEL_BLRP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
      OTEL_EXPORTER_OTLP_ENDPOINT: (await resolved("OTEL_EXPORTER_OTLP_ENDPOINT")).origin,
      OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer ${reader.token("collector")}`,
    },
    logFile: join(cluster.logs, "agent.log"),
  });
  cleanups.push(() => killNow(agent.child));
  return { witness, agentUrl: agent.ready.url };
}

/** Pods of `serve` that are ending. */
async function leaving({ api }: Cluster): Promise<V1Pod[]> {
  const selector = encodeURIComponent("app.kubernetes.io/component=serve");
  const { items } = await api.get<{ items: V1Pod[] }>(`/api/v1/namespaces/${NAMESPACE}/pods?labelSelector=${selector}`);
  return items.filter(({ metadata }) => metadata?.deletionTimestamp !== undefined);
}

/** Every look at the status tells names of models. */
function noting(names: Map<string, string>, control: Control): Control {
  return {
    ...control,
    async status() {
      const status = await control.status();
      for (const { digest, name } of [status.stable, status.experiment?.candidate, status.experiment?.stable].filter(
        (one) => one !== undefined,
      )) {
        names.set(digest, name);
      }
      return status;
    },
  };
}

/** Kafka and PostgreSQL on the node, as pods reach them; and the database's URL for this process. */
async function startOutside(cluster: Cluster, cleanups: (() => Promise<unknown>)[]): Promise<Surroundings & { ownUrl: string }> {
  const networkPort = await freePort();
  const kafka = await startKafka({ networkPort, networkHost: NETWORK.nodeIp });
  cleanups.push(() => kafka.close());
  const postgres = await startPostgres();
  cleanups.push(() => postgres.remove());
  const brokers = [await cluster.expose(kafka.networkTarget, networkPort)];
  await cluster.expose(postgres.port);
  const postgresUrl = postgres.url.replace("127.0.0.1", NETWORK.nodeIp);
  return { brokers, postgresUrl, ownUrl: postgres.url, createTopic: (name, options) => kafka.createTopic(name, options) };
}

/** The CronJob's own schedule, not a Job made by hand: it fires within a minute. Resolves to the run's id. */
async function cronJobFires(cluster: Cluster, next: (begin: () => Promise<unknown>) => Promise<string>): Promise<string> {
  const suspend = (isSuspended: boolean): Promise<string> => {
    const patch = ["--type=merge", "--patch", `{"spec":{"suspend":${isSuspended}}}`];
    return cluster.kubectl(["patch", "cronjob", `${RELEASE}-run-${AGENT}`, "--namespace", NAMESPACE, ...patch]);
  };
  const id = await next(() => suspend(false));
  await suspend(true);
  return id;
}

async function addressOf(cluster: Cluster, service: string, namespace: string): Promise<string> {
  const { spec } = await cluster.api.get<V1Service>(`/api/v1/namespaces/${namespace}/services/${service}`);
  return spec?.clusterIP ?? "";
}

import { randomBytes } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { V1Service } from "@kubernetes/client-node";
import { stringify } from "yaml";
import { createControl, type Control } from "../../../deploy/quickstart/control.ts";
import { startProgram } from "../../../deploy/quickstart/processes.ts";
import { AGENT, PRODUCTION_TEMPERATURE, quickstartConfig, TELEMETRY_DELAY_MS } from "../../../deploy/quickstart/settings.ts";
import { writeSigningKey } from "../../../src/artifact/signing-key.ts";
import { makeToken } from "../../../src/bearer-token.ts";
import { killNow, until } from "../../e2e/processes.ts";
import { startKafka } from "../parts/kafka.ts";
import { startPostgres } from "../parts/postgres.ts";
import { freePort } from "../parts/process.ts";
import { NETWORK } from "../kubernetes/bridge.ts";
import { startCluster, type Cluster } from "../kubernetes/cluster.ts";
import { productImages, vllmImage } from "../kubernetes/images.ts";
import { restrictedNamespace } from "../kubernetes/restricted.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
export const NAMESPACE = "nightshift";
export const RELEASE = "shop";
/** What the containers wrote stays, so that a story that failed can be read. */
const LOGS = join(ROOT, ".cache/reports/kubernetes-story");
const TOPICS = ["otlp_spans", "otlp_logs", "nightshift_dead_letter"];

type Tree = Record<string, unknown>;

/** The quickstart's shop with its agent beside an installed chart: Kafka and PostgreSQL are outside the cluster, all of Nightshift and vLLM are its pods. */
export interface ShopRelease {
  cluster: Cluster;
  control: Control;
  /** Where the shop's agent answers. */
  agentUrl: string;
  /** What the release was installed with, for an upgrade: `agent` is merged over the agent's part of the config. */
  values(agent: Tree): string;
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
  const commands = join(directory, "vllm");
  mkdirSync(commands);
  const images = { ...productImages(), "vllm-openai": vllmImage(commands) };
  // One GPU for vLLM, one for the trainer.
  rmSync(LOGS, { recursive: true, force: true });
  const cluster = await startCluster({ images, gpus: 2, logs: LOGS });
  cleanups.push(() => cluster.close());
  const outside = await startOutside(cluster, cleanups);
  await cluster.apply(restrictedNamespace(NAMESPACE), claim("models"), claim("shared"));
  await until("the claim of the models is bound", 30_000, () => bound(cluster, "models"));
  cpSync(join(ROOT, "deploy/quickstart/model"), join(cluster.volumes.directoryOf(NAMESPACE, "models"), "shop"), { recursive: true });
  const tokens = Object.fromEntries(["operator", "gateway", "agent", "ingest", "collector"].map((role) => [role, makeToken(role)]));
  await cluster.apply(secretOf(directory, outside.postgresUrl, tokens));
  const values = (over: Tree): string => {
    const file = join(directory, `values-${randomBytes(4).toString("hex")}.yaml`);
    writeFileSync(file, stringify(valuesOf({ seed, brokers: outside.brokers, tokens }, { ...agent, ...over })));
    return file;
  };
  const place = ["--namespace", NAMESPACE, "--wait", "--timeout", "300s"];
  await cluster.helm(["install", RELEASE, join(ROOT, "helm"), ...place, "--values", values({})]);
  const addresses = await Promise.all(["gateway", "collector", "serve"].map((name) => addressOf(cluster, name)));
  const [gateway = "", collector = "", serve = ""] = addresses;
  const shopAgent = await startProgram<{ url: string }>({
    name: "agent",
    args: [join(ROOT, "deploy/quickstart/agent.ts")],
    env: agentEnvironment({
      gateway: `${gateway}:8080/v1`,
      collector: `${collector}:4318`,
      token: tokens["collector"]?.token ?? "",
      shopUrl,
    }),
    logFile: join(cluster.logs, "agent.log"),
  });
  cleanups.push(() => killNow(shopAgent.child));
  const control = createControl(`${serve}:4400`, AGENT, tokens["operator"]?.token ?? "");
  return { cluster, control: { ...control, startRun: () => cronJobFires(cluster, control) }, agentUrl: shopAgent.ready.url, values };
}

/** Kafka and PostgreSQL on the node, as pods reach them. */
async function startOutside(cluster: Cluster, cleanups: (() => Promise<unknown>)[]): Promise<{ brokers: string[]; postgresUrl: string }> {
  const networkPort = await freePort();
  const kafka = await startKafka({ networkPort, networkHost: NETWORK.nodeIp });
  cleanups.push(() => kafka.close());
  const postgres = await startPostgres();
  cleanups.push(() => postgres.remove());
  for (const topic of TOPICS) await kafka.createTopic(topic, { partitions: 3 });
  const brokers = [await cluster.expose(kafka.networkTarget, networkPort)];
  await cluster.expose(postgres.port);
  return { brokers, postgresUrl: postgres.url.replace("127.0.0.1", NETWORK.nodeIp) };
}

/** The CronJob's own schedule, not a Job made by hand: it fires within a minute. Resolves to the run's id. */
async function cronJobFires(cluster: Cluster, control: Control): Promise<string> {
  const before = (await control.status()).run?.id ?? null;
  const suspend = (isSuspended: boolean): Promise<string> =>
    cluster.kubectl([
      "patch",
      "cronjob",
      `${RELEASE}-nightshift-run-${AGENT}`,
      "--namespace",
      NAMESPACE,
      "--type=merge",
      "--patch",
      `{"spec":{"suspend":${isSuspended}}}`,
    ]);
  await suspend(false);
  const id = await until("the CronJob has asked for a run", 150_000, async () => {
    const run = (await control.status()).run;
    return run === null || run.id === before ? null : run.id;
  });
  await suspend(true);
  return id;
}

function claim(name: string): object {
  const spec = { accessModes: ["ReadWriteMany"], resources: { requests: { storage: "10Gi" } } };
  return { apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name, namespace: NAMESPACE }, spec };
}

async function bound(cluster: Cluster, name: string): Promise<true | null> {
  const { status } = await cluster.api.get<{ status: { phase: string } }>(`/api/v1/namespaces/${NAMESPACE}/persistentvolumeclaims/${name}`);
  return status.phase === "Bound" ? true : null;
}

async function addressOf(cluster: Cluster, component: string): Promise<string> {
  const { spec } = await cluster.api.get<V1Service>(`/api/v1/namespaces/${NAMESPACE}/services/${RELEASE}-nightshift-${component}`);
  return `http://${spec?.clusterIP}`;
}

function secretOf(directory: string, postgresUrl: string, tokens: Record<string, { token: string }>): object {
  const { publicFile } = writeSigningKey(join(directory, "adapter-signing.pem"));
  const data: Record<string, Buffer | string> = {
    "postgres-url": postgresUrl,
    "redaction-key": randomBytes(32),
    "adapter-signing.pem": readFileSync(join(directory, "adapter-signing.pem")),
    "adapter-signing.pub.pem": readFileSync(publicFile),
    ...Object.fromEntries(Object.entries(tokens).map(([role, { token }]) => [`${role}-token`, token])),
  };
  const encoded = Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString("base64")]));
  return { apiVersion: "v1", kind: "Secret", metadata: { name: "nightshift", namespace: NAMESPACE }, data: encoded };
}

/** vLLM's flags on the CPU, as test/real/parts/vllm.ts has them. */
const VLLM_ARGS = [
  ...["--dtype=float32", "--enforce-eager", "--max-model-len=1024", "--max-num-seqs=64"],
  ...["--no-enable-chunked-prefill", "--max-num-batched-tokens=4096", "--enable-auto-tool-choice", "--tool-call-parser=hermes"],
  ...["--lora-target-modules", "qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "gate_proj", "up_proj", "down_proj"],
];

function valuesOf(
  { seed, brokers, tokens }: { seed: number; brokers: readonly string[]; tokens: Record<string, { hash: string }> },
  agent: Tree,
): Tree {
  const quickstart = quickstartConfig({ root: ROOT, dataDir: "", seed, sabotage: null });
  const { embeddedReplicas: _, ...shop } = (quickstart["agents"] as Record<string, Tree>)[AGENT] ?? {};
  const hashes = (role: string): string[] => [tokens[role]?.hash ?? ""];
  const one = { replicas: 1 };
  return {
    baseModel: { volume: { persistentVolumeClaim: { claimName: "models", readOnly: true } } },
    storage: { existingClaim: "shared" },
    ...{ serve: one, ingest: one, gateway: one, collector: one },
    vllm: {
      ...{ enabled: true, replicas: 1, maxLoraRank: 8, maxLoras: 64, maxCpuLoras: 64, shmSize: "1Gi", extraArgs: VLLM_ARGS },
      resources: { requests: { cpu: "1", memory: "2Gi" }, limits: { memory: "8Gi" } },
    },
    // Every minute, once it is let go.
    nights: { schedule: "* * * * *", suspend: true },
    config: {
      capture: quickstart["capture"],
      // Two cores for all of it: a connection may wait for its turn.
      store: { driver: "postgres", connectTimeoutMs: 60_000, statementTimeoutMs: 120_000 },
      transport: { driver: "kafka", brokers, sessionTimeoutMs: 6_000 },
      artifacts: { driver: "file" },
      api: { tokens: Object.fromEntries(["operator", "gateway", "agent", "ingest"].map((role) => [role, hashes(role)])) },
      tenants: { default: { collectorTokenHashes: hashes("collector") } },
      agents: { [AGENT]: { ...shop, baseModel: "/models/shop", ...agent } },
    },
  };
}

function agentEnvironment({
  gateway,
  collector,
  token,
  shopUrl,
}: Record<"gateway" | "collector" | "token" | "shopUrl", string>): Record<string, string> {
  return {
    PORT: "0",
    MODEL: AGENT,
    SHOP_URL: shopUrl,
    TEMPERATURE: String(PRODUCTION_TEMPERATURE),
    OPENAI_BASE_URL: gateway,
    OPENAI_API_KEY: "not-needed-here",
    OTEL_SERVICE_NAME: AGENT,
    OTEL_BSP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
    OTEL_BLRP_SCHEDULE_DELAY: String(TELEMETRY_DELAY_MS),
    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: "true",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector,
    OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer ${token}`,
  };
}

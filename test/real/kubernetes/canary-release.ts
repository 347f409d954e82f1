import { execFileSync } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { V1Lease, V1PersistentVolumeClaim, V1Pod, V1Service } from "@kubernetes/client-node";
import { stringify } from "yaml";
import { startProgram, type Started } from "../../../deploy/quickstart/processes.ts";
import { baseDigest } from "../../../src/artifact/base-digest.ts";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { readSigningKey, writeSigningKey } from "../../../src/artifact/signing-key.ts";
import { makeToken } from "../../../src/bearer-token.ts";
import { silentLog } from "../../../src/log.ts";
import { createExperimentStore, type ExperimentStore } from "../../../src/promotion/experiment-store.ts";
import { createAttestationStore } from "../../../src/serving/attestation-store.ts";
import { createVllm } from "../../../src/serving/vllm.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { registerAdapter, type RegisteredAdapter } from "../../../src/training/adapters.ts";
import { QUICKSTART } from "../../bench/canary/simulate.ts";
import { killNow, until } from "../../e2e/processes.ts";
import { chart } from "../../helm/objects.ts";
import { completion, sendJson, startUpstream } from "../../serving/fake-upstream.ts";
import { measuredReference } from "../../serving/measured-reference.ts";
import { tinyModel } from "../../serving/tiny-server.ts";
import { startPostgres } from "../parts/postgres.ts";
import { LIMITS } from "../postgres/limits.ts";
import { NETWORK } from "./bridge.ts";
import { canaryValues, FAKE_BASE, LEASE_MS, NAMESPACE, RELEASE, agentOf, operatorsRoute, slice } from "./canary-values.ts";
import { startCluster, type Cluster } from "./cluster.ts";
import { productImages } from "./images.ts";
import { podOf } from "./lease-holder.ts";
import { installForeignKinds, restrictedNamespace } from "./restricted.ts";
import { witnessedServerImage } from "./witnessed-server.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
/** The user of all pods: artifacts are readable by their owner only. */
const USER = "2000:2000";
const CORE = `/api/v1/namespaces/${NAMESPACE}`;
/** Half of the traffic from the first moment, and no end by itself. */
const HALF = { ...QUICKSTART, ramp: [{ weight: 0.5 }] };

type Tokens = Record<string, { token: string; hash: string }>;
type Upstream = Awaited<ReturnType<typeof startUpstream>>;

/**
 * The chart installed with two replicas of `serve`, a gateway, and policy servers with their adapter agents for the agent `shop`. Three more agents have replicas that
 * are only told of: `rewritten` and `routed` split traffic by objects of the cluster, `gated` by a gateway beside it that is no part of the release.
 */
export interface CanaryRelease {
  cluster: Cluster;
  database: Database;
  experiments: ExperimentStore;
  /** What a night of the agent `shop` would have left: registered and signed, with a reference that its policy servers reproduce. */
  candidate: RegisteredAdapter;
  /** Beside `gated`. */
  gateway: Started<{ gateway: string }>;
  /** Which that gateway calls. */
  policyServer: Upstream;
  postgresUrl: string;
  /** The file that it was installed with. */
  values: string;
  operatorToken: string;
  /** `http://host` of a component's Service. */
  addressOf(component: string): Promise<string>;
  pod(name: string): Promise<V1Pod>;
  /** Who leads, by the Lease. */
  leader(): Promise<{ pod: string; term: number; sinceMs: number }>;
  /** As a night leaves a candidate of `rewritten`, `routed` or `gated`; their one replica says that it has proven it, as its adapter agent would. */
  submitTold(agent: string, night: number): Promise<void>;
  /** As a night leaves the candidate of `shop`. */
  submitCandidate(id: string): Promise<void>;
  close(): Promise<void>;
}

export async function startCanaryRelease(): Promise<CanaryRelease> {
  const directory = mkdtempSync(join(tmpdir(), "nightshift-canary-"));
  const cleanups: (() => Promise<unknown>)[] = [async () => rmSync(directory, { recursive: true, force: true })];
  const close = async (): Promise<void> => {
    for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
  };
  try {
    return { ...(await install(directory, cleanups)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function install(directory: string, cleanups: (() => Promise<unknown>)[]): Promise<Omit<CanaryRelease, "close">> {
  const tiny = await tinyModel();
  const base = await baseDigest(tiny.model);
  const commands = join(directory, "vllm");
  mkdirSync(commands);
  const cluster = await startCluster({ images: { ...productImages(), "vllm-openai": witnessedServerImage(commands) } });
  cleanups.push(() => cluster.close());
  // After the cluster, which brings the loopback of its network up.
  const postgres = await startPostgres();
  cleanups.push(() => postgres.remove());
  const tokens: Tokens = Object.fromEntries(["operator", "gateway", "agent", "collector"].map((role) => [role, makeToken(role)]));
  await prepare(cluster, tiny, secretOf(directory, postgres.url.replace("127.0.0.1", NETWORK.nodeIp), tokens));
  await cluster.expose(postgres.port);
  const values = join(directory, "values.yaml");
  writeFileSync(values, stringify(canaryValues({ tokens, base })));
  await cluster.helm(["install", RELEASE, chart, "--namespace", NAMESPACE, "--values", values, "--wait", "--timeout", "200s"]);
  const database = createPostgres({ ...LIMITS, url: postgres.url }, { log: silentLog() });
  cleanups.push(() => database.close());
  const policyServer = await startUpstream(({ body }, response) => sendJson(response, completion(String(body["model"]))));
  cleanups.push(() => policyServer.close());
  const pod = (name: string): Promise<V1Pod> => cluster.api.get<V1Pod>(`${CORE}/pods/${name}`);
  const candidate = await learned({ directory, base, server: (await pod(`${RELEASE}-vllm-0`)).status?.podIP ?? "" }, cluster, database);
  const addressOf = async (component: string): Promise<string> => {
    const { spec } = await cluster.api.get<V1Service>(`${CORE}/services/${RELEASE}-${component}`);
    return `http://${spec?.clusterIP}`;
  };
  const control = `${await addressOf("serve")}:4400`;
  const gateway = await startGateway({ directory, control, token: tokens["gateway"]?.token ?? "", policyServer });
  cleanups.push(() => killNow(gateway.child));
  const experiments = createExperimentStore({ database, now: Date.now });
  const submission = { tenant: "default", runId: null, canary: HALF, horizonMs: 600_000, gate: null, automatic: true };
  return {
    ...{ cluster, database, experiments, candidate, gateway, policyServer, pod, addressOf, postgresUrl: postgres.url, values },
    operatorToken: tokens["operator"]?.token ?? "",
    async leader() {
      const { spec } = await cluster.api.get<V1Lease>(`/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/${RELEASE}-serve`);
      return { pod: podOf(spec?.holderIdentity ?? ""), term: spec?.leaseTransitions ?? 0, sinceMs: Date.parse(String(spec?.acquireTime)) };
    },
    async submitTold(agent, night) {
      const id = `${agent}-${night}`;
      const digest = `sha256:${createHash("sha256").update(id).digest("hex")}`;
      await createAttestationStore(database).save({
        ...{ replica: "vllm-0", instance: "uid-vllm-0", name: id, digest, atMs: Date.now(), status: "attested" },
        figures: { probeTokens: 64, slope: 1, t: 9, baseGap: 0.1 },
      });
      const stable = { name: agent, digest: FAKE_BASE };
      await experiments.submit({ ...submission, id, agent, model: agent, salt: id, candidate: { name: id, digest }, stable });
    },
    async submitCandidate(id) {
      const { name, digest } = candidate;
      const stable = { name: "shop", digest: base };
      await experiments.submit({ ...submission, id, agent: "shop", model: "shop", salt: id, candidate: { name, digest }, stable });
    },
  };
}

/** What the chart finds in its namespace: volumes with the base model, a Secret, an HTTPRoute, and the pool's pods as far as they are told of. */
async function prepare(cluster: Cluster, tiny: Awaited<ReturnType<typeof tinyModel>>, secret: object): Promise<void> {
  await installForeignKinds(cluster);
  await cluster.apply(restrictedNamespace(NAMESPACE), claim("shared"), claim("models"), operatorsRoute("routed"), slice(), secret);
  for (const name of ["shared", "models"]) {
    await until(`claim ${name} is bound`, 30_000, async () => {
      const found = await cluster.api.get<V1PersistentVolumeClaim>(`${CORE}/persistentvolumeclaims/${name}`);
      return found.status?.phase === "Bound" ? true : null;
    });
  }
  const models = cluster.volumes.directoryOf(NAMESPACE, "models");
  cpSync(tiny.model, join(models, "tiny"), { recursive: true });
  cpSync(tiny.adapters.good, join(models, "learned"), { recursive: true });
  execFileSync("chmod", ["-R", "a+rX", models]);
}

/** Has a policy server of the release measure what the adapter does there, and registers it as a night does. */
async function learned(
  { directory, base, server }: { directory: string; base: Awaited<ReturnType<typeof baseDigest>>; server: string },
  cluster: Cluster,
  database: Database,
): Promise<RegisteredAdapter> {
  const files = join(directory, "learned");
  cpSync(join(cluster.volumes.directoryOf(NAMESPACE, "models"), "learned"), files, { recursive: true });
  const policy = createVllm({ url: `http://${server}:8000`, timeoutMs: 60_000, connections: 4 });
  await policy.loadAdapter({ name: "measured", path: "/models/learned" });
  writeFileSync(join(files, "reference.json"), JSON.stringify(await measuredReference(policy, "measured", "shop")));
  await policy.unloadAdapter("measured");
  await policy.close();
  const artifacts = join(cluster.volumes.directoryOf(NAMESPACE, "shared"), "artifacts");
  const adapter = await registerAdapter(
    {
      ...{ directory: files, tenant: "default", agent: "shop", runId: randomUUID(), iteration: 1, rank: 4 },
      ...{ baseDigest: base, parentDigest: null, lineage: new Uint8Array([1]), nowMs: Date.now() },
    },
    { database, artifacts: createFileArtifactStore({ dir: artifacts }), key: readSigningKey(join(directory, "adapter-signing.pem")) },
  );
  execFileSync("chown", ["-R", USER, artifacts]);
  return adapter;
}

/** Beside an agent, and no part of the release. */
function startGateway({
  directory,
  control,
  token,
  policyServer,
}: {
  directory: string;
  control: string;
  token: string;
  policyServer: Upstream;
}): Promise<Started<{ gateway: string }>> {
  const dataDir = join(directory, "gateway");
  mkdirSync(dataDir);
  const config = {
    dataDir,
    gateway: { port: 0, leaseMs: LEASE_MS, controlUrl: control },
    agents: { gated: { ...agentOf("gated"), policyServers: [{ url: policyServer.url }] } },
  };
  writeFileSync(join(directory, "gateway.yaml"), stringify(config));
  return startProgram<{ gateway: string }>({
    name: "gateway",
    args: [join(ROOT, "src/cli/main.ts"), "gateway", "--config", join(directory, "gateway.yaml"), "--json"],
    env: { NIGHTSHIFT_TOKEN: token },
    logFile: join(directory, "gateway.log"),
  });
}

function claim(name: string): object {
  const spec = { accessModes: ["ReadWriteMany"], resources: { requests: { storage: "1Gi" } } };
  return { apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name, namespace: NAMESPACE }, spec };
}

function secretOf(directory: string, postgresUrl: string, tokens: Tokens): object {
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

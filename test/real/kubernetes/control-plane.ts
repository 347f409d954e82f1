import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../../e2e/processes.ts";
import { helmPrograms } from "../parts/helm.ts";
import { kubernetesPrograms } from "../parts/kubernetes.ts";
import { startPartProcess, type PartProcess } from "../parts/process.ts";
import { createKubeApi, type KubeApi, type KubeApiOptions } from "./api.ts";
import { NETWORK, startBridge } from "./bridge.ts";
import { writeCredentials, type Credentials, type Identity } from "./credentials.ts";

/** Nobody else is in this network namespace: ports need not be looked for. */
const ETCD = "http://127.0.0.1:2379";
const PORT = 6443;
const SERVER = `https://${NETWORK.nodeIp}:${PORT}`;

/** One line of the audit log: a call that the API server answered. */
export interface AuditEvent {
  verb: string;
  user: { username: string };
  objectRef?: { resource?: string; subresource?: string; namespace?: string; name?: string };
  responseStatus?: { code?: number };
  requestObject?: Record<string, unknown>;
  responseObject?: Record<string, unknown>;
  /** RFC 3339, microseconds. */
  stageTimestamp: string;
}

/** etcd, API server, controller manager and scheduler, each its own process, with data of their own. */
export interface ControlPlane {
  /** The path of an administrator's kubeconfig. */
  readonly kubeconfig: string;
  readonly server: string;
  /** As administrator. */
  readonly api: KubeApi;
  /** A folder that goes when the control plane goes. */
  readonly home: string;
  /** As another identity. */
  apiAs(identity: Identity): KubeApi;
  accessOf(identity: Identity): KubeApiOptions;
  /** Resolves to stdout. Rejects with stderr when it fails. `input` is its stdin. */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  helm(args: readonly string[]): Promise<string>;
  /** Creates or changes objects, by server-side apply. */
  apply(...objects: object[]): Promise<void>;
  /** kill -9 of the API server, and back on the same port after `downMs`. */
  restartApiServer(downMs?: number): Promise<void>;
  /** SIGSTOP: connections stay open, nothing is answered until what this returns is called. */
  pauseApiServer(): () => void;
  /** Forgets the history that watches go on from: with an API server that was restarted, an old resourceVersion is answered with 410. */
  compactHistory(): Promise<void>;
  /** What was written to the API server so far, in order of the answers; of pods with whole bodies. */
  audit(): AuditEvent[];
  /** The last lines of a process. */
  tail(process: "etcd" | "apiServer" | "controllerManager" | "scheduler"): string;
  close(): Promise<void>;
}

/** Takes seconds. @throws PartError when a part was not fetched or the machine lets no test have a network of its own */
export async function startControlPlane(): Promise<ControlPlane> {
  const programs = kubernetesPrograms();
  const tools = helmPrograms();
  const removeBridge = await startBridge();
  const home = mkdtempSync(join(tmpdir(), "nightshift-kubernetes-"));
  const credentials = writeCredentials(home);
  const auditLog = join(home, "audit.log");
  const processes = {
    etcd: await startEtcd(programs.etcd, home),
    apiServer: await startApiServer(programs.apiServer, credentials, auditLog),
  };
  const accessOf = (identity: Identity): KubeApiOptions => ({ server: SERVER, ca: credentials.ca(), token: credentials.tokenOf(identity) });
  const apiAs = (identity: Identity): KubeApi => createKubeApi(accessOf(identity));
  const api = apiAs("admin");
  await untilReady(api);
  const clients = await startClients(programs, credentials);
  const kubeconfig = credentials.kubeconfig("admin", SERVER);
  // Whose caches and repositories are not those of this machine's user.
  const env = { PATH: process.env["PATH"] ?? "", HOME: home, KUBECONFIG: kubeconfig };
  const kubectl = (args: readonly string[], input = ""): Promise<string> => runClient(tools.kubectl, args, env, input);
  return {
    kubeconfig,
    server: SERVER,
    api,
    home,
    apiAs,
    accessOf,
    kubectl,
    helm: (args) => runClient(tools.helm, args, env, ""),
    async apply(...objects) {
      const list = { apiVersion: "v1", kind: "List", items: objects };
      await kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"], JSON.stringify(list));
    },
    async restartApiServer(downMs = 0) {
      await processes.apiServer.kill();
      await new Promise((resolve) => setTimeout(resolve, downMs));
      processes.apiServer = await startApiServer(programs.apiServer, credentials, auditLog);
      await untilReady(api);
    },
    pauseApiServer() {
      process.kill(processes.apiServer.pid, "SIGSTOP");
      return () => process.kill(processes.apiServer.pid, "SIGCONT");
    },
    compactHistory,
    audit: () => readAudit(auditLog),
    tail: (name) => ({ ...processes, ...clients })[name].tail(),
    async close() {
      await api.close();
      for (const each of [clients.scheduler, clients.controllerManager, processes.apiServer, processes.etcd]) await each.kill();
      await removeBridge();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

function startEtcd(program: string, home: string): Promise<PartProcess> {
  const peer = "http://127.0.0.1:2380";
  const addresses = ["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD, "--listen-peer-urls", peer];
  const cluster = ["--initial-advertise-peer-urls", peer, "--initial-cluster", `default=${peer}`];
  return startPartProcess(program, ["--data-dir", join(home, "etcd"), ...addresses, ...cluster], {
    readyLine: /ready to serve client requests|serving (?:insecure )?client (?:requests|traffic)/i,
    limitMs: 30_000,
  });
}

function startApiServer(program: string, credentials: Credentials, auditLog: string): Promise<PartProcess> {
  mkdirSync(credentials.certificates, { recursive: true });
  const flags = {
    "etcd-servers": ETCD,
    "bind-address": NETWORK.nodeIp,
    "advertise-address": NETWORK.nodeIp,
    "secure-port": PORT,
    "cert-dir": credentials.certificates,
    "service-cluster-ip-range": NETWORK.services,
    "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
    "service-account-key-file": credentials.serviceAccountPublicKey,
    "service-account-signing-key-file": credentials.serviceAccountKey,
    "token-auth-file": credentials.tokenFile,
    "authorization-mode": "RBAC",
    "audit-policy-file": credentials.auditPolicy,
    "audit-log-path": auditLog,
  };
  return startPartProcess(program, flagsOf(flags), { readyLine: /Serving securely on/, limitMs: 60_000 });
}

/** The two that only talk to the API server. No leader election: each is the only one, and a restarted API server must not end them. */
async function startClients(
  programs: { controllerManager: string; scheduler: string },
  credentials: Credentials,
): Promise<Record<"controllerManager" | "scheduler", PartProcess>> {
  const shared = { "leader-elect": false, "secure-port": 0 };
  const controllerManager = startPartProcess(
    programs.controllerManager,
    flagsOf({
      ...shared,
      kubeconfig: credentials.kubeconfig("controllerManager", SERVER),
      "use-service-account-credentials": true,
      "service-account-private-key-file": credentials.serviceAccountKey,
      "root-ca-file": join(credentials.certificates, "apiserver.crt"),
    }),
    { readyLine: /Starting controller|Started controller|"Starting" controller/i, limitMs: 60_000 },
  );
  const scheduler = startPartProcess(programs.scheduler, flagsOf({ ...shared, kubeconfig: credentials.kubeconfig("scheduler", SERVER) }), {
    readyLine: /Starting Kubernetes Scheduler/,
    limitMs: 60_000,
  });
  return { controllerManager: await controllerManager, scheduler: await scheduler };
}

function flagsOf(flags: Record<string, string | number | boolean>): string[] {
  return Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
}

async function untilReady(api: KubeApi): Promise<void> {
  // Its roles are written after it has begun to listen: before, most of the control plane may do nothing.
  await until("the API server is ready", 60_000, () => api.ready().then(() => true));
}

async function runClient(program: string, args: readonly string[], env: Record<string, string>, input: string): Promise<string> {
  const child = spawn(program, args, { env, stdio: ["pipe", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.on("error", () => {}).end(input);
  const [code] = (await once(child, "close")) as [number | null];
  if (code === 0) return stdout;
  throw new Error(`${program.split("/").at(-1) ?? program} ${args.join(" ")} ended with exit code ${code}\n${stderr}`);
}

/** By etcd's own HTTP: at its newest revision. */
async function compactHistory(): Promise<void> {
  const post = async (path: string, body: object): Promise<{ header: { revision: string } }> => {
    const response = await fetch(`${ETCD}/v3/kv/${path}`, { method: "POST", body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`etcd answered ${path} with ${response.status}: ${await response.text()}`);
    return (await response.json()) as { header: { revision: string } };
  };
  const { header } = await post("range", { key: Buffer.from("a").toString("base64") });
  await post("compaction", { revision: header.revision, physical: true });
}

function readAudit(file: string): AuditEvent[] {
  if (!existsSync(file)) return [];
  // The last line may be on its way.
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as AuditEvent);
}

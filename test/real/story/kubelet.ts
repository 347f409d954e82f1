import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { V1Deployment, V1Pod, V1Service } from "@kubernetes/client-node";
import type { Cluster } from "../kubernetes/cluster.ts";
import type { StandIn } from "./terminal.ts";

/** What kubectl asks a node for, which the test's kubelet does not serve: exec, logs and port-forward, as a container runtime does them. */
export function kubeletOf(cluster: Cluster): StandIn {
  return async ({ args, input, say, gone }) => {
    const words = args.indexOf("--");
    const { values, positionals } = parseArgs({
      args: args.slice(0, words === -1 ? args.length : words),
      options: { namespace: { type: "string" }, container: { type: "string" }, stdin: { type: "boolean" } },
      allowPositionals: true,
    });
    const [verb, object = "", ports = ""] = positionals;
    const pod = await podOf(cluster, values.namespace ?? "default", object, verb === "logs");
    const place = { ...pod, container: values.container ?? pod.container };
    if (verb === "logs") {
      say(readFileSync(join(cluster.logs, `${place.namespace}_${place.name}_${place.container}.log`), "utf8"));
      return 0;
    }
    const inside = (): readonly string[] | null => cluster.node.inside(place.namespace, place.name, place.container);
    if (verb === "exec") {
      const argv = inside();
      if (argv === null) throw new Error(`error: container ${place.container} of ${place.name} does not run`);
      return execute([...argv, ...args.slice(words + 1)], values.stdin === true ? input : Buffer.alloc(0), say);
    }
    const [from, to] = ports.split(":").map(Number);
    await forward(inside, { from: from ?? 0, to: to ?? 0 }, say, gone);
    return 0;
  };
}

interface Place {
  namespace: string;
  name: string;
  container: string;
}

/** A pod of a Deployment, Service or Job: one that is ready and stays, unless its end is what matters. */
async function podOf({ api }: Cluster, namespace: string, object: string, isAnyStateFine: boolean): Promise<Place> {
  const [kind, name = ""] = object.split("/");
  const selector = async (): Promise<Record<string, string>> => {
    if (kind === "job") return { "batch.kubernetes.io/job-name": name };
    if (kind === "service") return (await api.get<V1Service>(`/api/v1/namespaces/${namespace}/services/${name}`)).spec?.selector ?? {};
    const path = `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`;
    return (await api.get<V1Deployment>(path)).spec?.selector.matchLabels ?? {};
  };
  const labels = Object.entries(await selector()).map(([label, value]) => `${label}=${value}`);
  const { items } = await api.get<{ items: V1Pod[] }>(
    `/api/v1/namespaces/${namespace}/pods?labelSelector=${encodeURIComponent(labels.join(","))}`,
  );
  const isReady = ({ status, metadata }: V1Pod): boolean =>
    metadata?.deletionTimestamp === undefined && status?.conditions?.some((one) => one.type === "Ready" && one.status === "True") === true;
  const pod = items.find((one) => isAnyStateFine || isReady(one));
  if (pod === undefined) throw new Error(`error: no pod of ${object}`);
  return { namespace, name: pod.metadata?.name ?? "", container: pod.spec?.containers[0]?.name ?? "" };
}

/** Its input is a pipe that everybody may open anew: a runtime gives a container's standard streams to the container's user. */
const PIPED = 'cat "$0" | { chmod a+r /proc/self/fd/0 && exec "$@"; }';

async function execute(argv: readonly string[], input: Buffer, say: (text: string) => void): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), "nightshift-exec-"));
  const file = join(directory, "stdin");
  writeFileSync(file, input);
  try {
    const child = spawn("sh", ["-c", PIPED, file, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => say(chunk.toString()));
    const [code] = (await once(child, "close")) as [number | null];
    return code ?? 137;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** A runtime calls the port at localhost of the pod's network, not at the pod's address; of one pod for as long as it is there, whatever its containers do. */
async function forward(
  inside: () => readonly string[] | null,
  { from, to }: { from: number; to: number },
  say: (text: string) => void,
  gone: AbortSignal,
): Promise<void> {
  const script = `const s = require("node:net").connect(${to}, "127.0.0.1"); s.on("close", () => process.exit()); s.on("error", () => {}); process.stdin.pipe(s); s.pipe(process.stdout);`;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const argv = inside();
    if (argv === null) {
      client.destroy();
      return;
    }
    const [command, ...args] = [...argv, process.execPath, "-e", script];
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"] });
    child.on("error", () => client.destroy());
    client.pipe(child.stdin);
    child.stdout.pipe(client);
    child.stdin.on("error", () => client.destroy());
    client.on("error", () => child.kill("SIGKILL"));
    client.on("close", () => child.kill("SIGKILL"));
  });
  server.listen(from, "127.0.0.1");
  await once(server, "listening");
  say(`Forwarding from 127.0.0.1:${from} -> ${to}\n`);
  if (!gone.aborted) await once(gone, "abort");
  server.close();
}

import { join } from "node:path";
import { readFileSync } from "node:fs";
import type { V1Pod } from "@kubernetes/client-node";
import { until } from "../../e2e/processes.ts";
import type { Cluster } from "./cluster.ts";
import type { Image } from "./container.ts";

/** Images that are a shell and an HTTP server, for pods that prove what the test cluster does. */
export const SHELL_IMAGES: Readonly<Record<string, Image>> = {
  shell: { entrypoint: ["sh", "-c"] },
  // Says its name; is ready as long as the file is there; ends on SIGTERM, saying so.
  server: {
    entrypoint: [process.execPath, "-e", serverScript()],
    env: { PATH: "/usr/bin:/bin" },
  },
};

function serverScript(): string {
  return `
const { createServer } = require("node:http"), { existsSync } = require("node:fs");
const server = createServer((request, response) => {
  if (request.url === "/ready") return response.writeHead(existsSync("/state/unready") ? 503 : 200).end();
  response.end(process.env.HOSTNAME + " " + (process.env.VERSION || ""));
}).listen(8080, "0.0.0.0");
process.on("SIGTERM", () => { console.log("told to end"); server.close(() => process.exit(0)); server.closeAllConnections(); });
`;
}

/** What PodSecurity's `restricted` asks of a container and its pod. */
export const RESTRICTED = {
  pod: { runAsNonRoot: true, runAsUser: 2000, runAsGroup: 2000, fsGroup: 2000, seccompProfile: { type: "RuntimeDefault" } },
  container: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ["ALL"] } },
} as const;

/** A pod's specification with one container of a shell. */
export function shellPod(script: string, more: object = {}, container: object = {}): object {
  return {
    restartPolicy: "Never",
    terminationGracePeriodSeconds: 5,
    ...more,
    containers: [{ name: "main", image: "shell:1", args: [script], ...container }],
  };
}

export function pod(name: string, spec: object, namespace = "default"): object {
  return { apiVersion: "v1", kind: "Pod", metadata: { name, namespace }, spec };
}

export function job(name: string, spec: object, template: object): object {
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name, namespace: "default" },
    spec: { ...spec, template: { metadata: { labels: { job: name } }, spec: template } },
  };
}

/** Resolves to the pod once `accept` says so. Rejects after `limitMs` with the pod's last status. */
export async function untilPod(
  { api }: Cluster,
  name: string,
  what: string,
  accept: (pod: V1Pod) => boolean,
  limitMs = 30_000,
): Promise<V1Pod> {
  let last: V1Pod | undefined;
  try {
    return await until(`${name} ${what}`, limitMs, async () => {
      last = await api.get<V1Pod>(`/api/v1/namespaces/default/pods/${name}`);
      return accept(last) ? last : null;
    });
  } catch (error) {
    throw new Error(`${String(error)}\n${JSON.stringify(last?.status, null, 1)}`, { cause: error });
  }
}

/** Its main container's last words so far. */
export function logOf(cluster: Cluster, name: string, container = "main"): string {
  return readFileSync(join(cluster.logs, `default_${name}_${container}.log`), "utf8");
}

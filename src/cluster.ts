import type * as KubernetesClient from "@kubernetes/client-node";
import { setTimeout as sleep } from "node:timers/promises";
import { nightshiftError } from "./errors.ts";
import type { Logger } from "./log.ts";

/** A Kubernetes API as this process reaches it. */
export interface Cluster {
  /** The one that this process runs in, or the kubeconfig's context names. */
  readonly namespace: string;
  /**
   * One request. Resolves to any answer up to 499, with its JSON.
   * @param request.what In words, for errors.
   * @throws NightshiftError `cluster_unavailable`
   */
  ask(request: ClusterRequest, options?: { signal?: AbortSignal }): Promise<ClusterAnswer>;
  /** Hands every event of a watch over; resolves when the server closes it or falls silent, rejects where it may not be opened. */
  watch(
    path: string,
    query: Record<string, string | number>,
    event: (type: string, object: unknown) => void,
    signal: AbortSignal,
  ): Promise<void>;
}

export interface ClusterRequest {
  what: string;
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Below the API server's address, such as `/api/v1/namespaces/default/events`. */
  path: string;
  query?: Readonly<Record<string, string | number | boolean>>;
  body?: unknown;
  contentType?: string;
}

export interface ClusterAnswer {
  status: number;
  /** null where it is not JSON. */
  body: unknown;
}

/** An object of the API, of which nothing more is known. */
export interface ClusterObject {
  metadata: { name: string; namespace?: string; uid?: string; resourceVersion?: string };
}

const TIMEOUT_MS = 10_000;
/** The client takes a watch for dead after half a minute without a byte: so long an empty one is never open. */
const WATCH_SECONDS = 25;
/** Certificates are renewed. */
const KEEP_CONNECTIONS_MS = 300_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;

/**
 * By the client's own rules: KUBECONFIG, `~/.kube/config`, else the pod's service account. The client is loaded here, where one is needed: it is large.
 * @throws NightshiftError `cluster_unknown`
 */
export async function openCluster(): Promise<Cluster> {
  const kubernetes = await import("@kubernetes/client-node");
  const config = new kubernetes.KubeConfig();
  config.loadFromDefault();
  const server = config.getCurrentCluster()?.server;
  // Where it finds nothing the client falls back to this address, which no API server has listened on for years.
  if (server === undefined || server === "http://localhost:8080")
    throw nightshiftError("cluster_unknown", { problem: "no kubeconfig, and no service account in this pod" });
  return clusterOf(config, server, kubernetes);
}

type Client = typeof KubernetesClient;

function clusterOf(
  config: KubernetesClient.KubeConfig,
  server: string,
  { createConfiguration, HttpMethod, RequestContext, Watch }: Client,
): Cluster {
  const { httpApi } = createConfiguration();
  let connections: { dispatcher: ReturnType<InstanceType<Client["RequestContext"]>["getDispatcher"]>; sinceMs: number } | null = null;
  return {
    namespace: config.getContextObject(config.getCurrentContext())?.namespace ?? "default",
    async ask({ what, method, path, query = {}, body, contentType = "application/json" }, { signal } = {}) {
      const timeout = AbortSignal.timeout(TIMEOUT_MS);
      try {
        // The typed API classes have no time limit and read no unknown kinds; the way in (certificates, tokens that are renewed) is the client's own.
        const request = new RequestContext(server.replace(/\/+$/, "") + path, HttpMethod[method]);
        for (const [name, value] of Object.entries(query)) request.setQueryParam(name, String(value));
        request.setHeaderParam("accept", "application/json");
        if (body !== undefined) request.setHeaderParam("content-type", contentType);
        if (body !== undefined) request.setBody(JSON.stringify(body));
        request.setSignal(signal === undefined ? timeout : AbortSignal.any([signal, timeout]));
        await config.applySecurityAuthentication(request);
        // It comes with connections of its own every time: a handshake for each request of a router that looks once a second.
        if (connections === null || performance.now() - connections.sinceMs > KEEP_CONNECTIONS_MS)
          connections = { dispatcher: request.getDispatcher(), sinceMs: performance.now() };
        if (connections.dispatcher !== undefined) request.setDispatcher(connections.dispatcher);
        const { httpStatusCode: status, body: answer } = await httpApi.send(request).toPromise();
        const text = await answer.text();
        if (status >= 500 || status === 429) throw nightshiftError("cluster_unavailable", { what, problem: `it answered ${status}` });
        return { status, body: jsonOf(text) };
      } catch (cause) {
        signal?.throwIfAborted();
        if (isOurs(cause)) throw cause;
        const problem = timeout.aborted ? `no answer within ${TIMEOUT_MS} ms` : "no connection";
        throw nightshiftError("cluster_unavailable", { what, problem }, { cause });
      }
    },
    async watch(path, query, event, signal) {
      signal.throwIfAborted();
      const over = Promise.withResolvers<void>();
      const done = (error: unknown): void => {
        if (error === null || error === undefined || isSilence(error)) over.resolve();
        else over.reject(error instanceof Error ? error : new Error("the watch failed"));
      };
      const open = async (): Promise<AbortController | null> => {
        try {
          return await new Watch(config).watch(path, { timeoutSeconds: WATCH_SECONDS, ...query }, event, done);
        } catch (error) {
          done(error);
          return null;
        }
      };
      const opening = open();
      // One that is still being opened, by a server that does not answer, is not waited for.
      const stop = (): void => {
        over.resolve();
        void opening.then((watch) => watch?.abort());
      };
      signal.addEventListener("abort", stop, { once: true });
      await over.promise.finally(() => signal.removeEventListener("abort", stop));
    },
  };
}

/** The answer's body where it says 2xx. @throws NightshiftError `cluster_refused` */
export function acceptedOf<T>({ what }: Pick<ClusterRequest, "what">, { status, body }: ClusterAnswer): T {
  if (status < 300) return body as T;
  const problem = (body as { message?: string } | null)?.message ?? "without a reason";
  throw nightshiftError("cluster_refused", { what, status, problem });
}

/**
 * Keeps `changed` told of all objects below `path`, until `signal` aborts, which resolves it: a list, a watch from there until it is closed, and a list again. So what a
 * watch missed is right after half a minute, and a watch that ended in an error (410 after a compaction, an API server that was restarted) needs no case of its own.
 */
export async function watchList<T extends ClusterObject>(
  { what, path, labelSelector }: { what: string; path: string; labelSelector: string },
  deps: { cluster: Cluster; changed: (objects: readonly T[]) => void; log: Logger },
  { signal }: { signal: AbortSignal },
): Promise<void> {
  let pauseMs = 0;
  while (!signal.aborted) {
    try {
      const request = { what, method: "GET", path, query: { labelSelector } } as const;
      const list = acceptedOf<{ metadata: { resourceVersion: string }; items: T[] }>(request, await deps.cluster.ask(request, { signal }));
      const known = new Map(list.items.map((item) => [keyOf(item), item]));
      deps.changed([...known.values()]);
      if (pauseMs > 0) deps.log.info({ what }, "kubernetes reached again");
      pauseMs = 0;
      await follow({ path, labelSelector, resourceVersion: list.metadata.resourceVersion, known }, deps, signal);
      // Whatever closes watches as soon as they are open is not asked without a break.
      await sleep(FIRST_PAUSE_MS, undefined, { signal }).catch(() => undefined);
    } catch (cause) {
      if (signal.aborted) return;
      if (pauseMs === 0) deps.log.warn({ what, err: cause }, "kubernetes not reached");
      pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, pauseMs * 2));
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

async function follow<T extends ClusterObject>(
  { path, known, ...query }: { path: string; labelSelector: string; resourceVersion: string; known: Map<string, T> },
  { cluster, changed }: { cluster: Cluster; changed: (objects: readonly T[]) => void },
  signal: AbortSignal,
): Promise<void> {
  const ended = new AbortController();
  const event = (type: string, object: unknown): void => {
    // An error in the stream (410 is one) ends it: what follows is another list.
    if (type === "ERROR") return ended.abort();
    if (type === "BOOKMARK") return;
    const item = object as T;
    if (type === "DELETED") known.delete(keyOf(item));
    else known.set(keyOf(item), item);
    changed([...known.values()]);
  };
  try {
    await cluster.watch(path, query, event, AbortSignal.any([signal, ended.signal]));
  } catch (cause) {
    if (!ended.signal.aborted) throw cause;
  }
}

function keyOf({ metadata }: ClusterObject): string {
  return `${metadata.namespace ?? ""}/${metadata.name}`;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function isOurs(cause: unknown): boolean {
  return cause instanceof Error && cause.name === "NightshiftError";
}

/** Half a minute without an event, or a watch that was ended on purpose. */
function isSilence(error: unknown): boolean {
  return error instanceof Error && (error.name === "TimeoutError" || error.name === "AbortError");
}

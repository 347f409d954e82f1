import { setTimeout as sleep } from "node:timers/promises";
import { Agent, fetch, type Response } from "undici";

/** What every object of the API server has. Times are strings here: JSON as it is on the wire. */
export interface KubeObject {
  metadata?: { name?: string; namespace?: string; uid?: string; resourceVersion?: string };
}

/** An answer of the API server that is no success. */
export class KubeError extends Error {
  readonly code: number;
  readonly reason: string;
  constructor(code: number, status: { message?: string; reason?: string }) {
    super(`${code} ${status.reason ?? ""}: ${status.message ?? ""}`);
    this.name = "KubeError";
    this.code = code;
    this.reason = status.reason ?? "";
  }
}

export type PatchType = "strategic-merge-patch" | "merge-patch" | "json-patch";

/** Who talks to the API server, and how. Paths are those of its REST API, such as `/api/v1/nodes`. */
export interface KubeApi {
  /** All that the server does when it starts is done. Rejects when it does not say so. */
  ready(): Promise<void>;
  get<T>(path: string): Promise<T>;
  create<T>(path: string, object: unknown): Promise<T>;
  patch<T>(path: string, change: unknown, type?: PatchType): Promise<T>;
  remove(path: string, options?: unknown): Promise<void>;
  /** Lists, watches and, whenever that ends, starts again from a list: `onChange` hears of every object, and of those that went away with null. */
  follow<T extends KubeObject>(path: string, onChange: (key: string, object: T | null) => void): Follower<T>;
  close(): Promise<void>;
}

/** The objects of one list, kept up to date. */
export interface Follower<T> {
  /** By `namespace/name`; `/name` where there is no namespace. */
  readonly objects: ReadonlyMap<string, T>;
  /** Resolves once the first list is there. */
  readonly isListed: Promise<void>;
  close(): void;
}

export interface KubeApiOptions {
  server: string;
  /** PEM. */
  ca: string;
  token: string;
}

/** @throws {KubeError} from every call whose answer is no success, and undici's errors when there is no answer */
export function createKubeApi({ server, ca, token }: KubeApiOptions): KubeApi {
  const dispatcher = new Agent({ connect: { ca }, connections: null, bodyTimeout: 0, headersTimeout: 60_000 });
  const closing = new AbortController();
  const send = async (
    method: string,
    path: string,
    options: { body?: unknown; type?: string; signal?: AbortSignal } = {},
  ): Promise<Response> => {
    const response = await fetch(`${server}${path}`, {
      method,
      dispatcher,
      headers: { authorization: `Bearer ${token}`, accept: "application/json", "content-type": `application/${options.type ?? "json"}` },
      ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      signal: options.signal ?? AbortSignal.any([closing.signal, AbortSignal.timeout(60_000)]),
    });
    if (response.ok) return response;
    const text = await response.text();
    throw new KubeError(response.status, text.startsWith("{") ? (JSON.parse(text) as object) : { message: text });
  };
  const json = async <T>(answer: Promise<Response>): Promise<T> => (await (await answer).json()) as T;
  return {
    async ready() {
      await (await send("GET", "/readyz")).text();
    },
    get: (path) => json(send("GET", path)),
    create: (path, body) => json(send("POST", path, { body })),
    patch: (path, body, type = "strategic-merge-patch") =>
      json(send("PATCH", path, { body, type: type === "json-patch" ? "json-patch+json" : `${type}+json` })),
    async remove(path, body) {
      await json(send("DELETE", path, { body }));
    },
    follow: (path, onChange) => follow((query, signal) => send("GET", `${path}${query}`, { signal }), onChange, closing.signal),
    async close() {
      closing.abort();
      await dispatcher.destroy();
    },
  };
}

/** How long to wait before a list is tried again: the tests kill the server and want to see it come back. */
const RETRY_MS = 200;

function follow<T extends KubeObject>(
  read: (query: string, signal: AbortSignal) => Promise<Response>,
  onChange: (key: string, object: T | null) => void,
  parent: AbortSignal,
): Follower<T> {
  const stopping = new AbortController();
  const signal = AbortSignal.any([parent, stopping.signal]);
  const objects = new Map<string, T>();
  const listed = Promise.withResolvers<void>();
  // A mistake of the listener is no failure of the list.
  const tell = (key: string, object: T | null): void => queueMicrotask(() => onChange(key, object));
  const put = (object: T): void => {
    if (objects.get(keyOf(object))?.metadata?.resourceVersion === object.metadata?.resourceVersion) return;
    objects.set(keyOf(object), object);
    tell(keyOf(object), object);
  };
  const drop = (key: string): void => {
    if (objects.delete(key)) tell(key, null);
  };
  const listAndWatch = async (): Promise<void> => {
    const list = (await (await read("", signal)).json()) as { metadata: { resourceVersion: string }; items: T[] };
    const keys = new Set(list.items.map(keyOf));
    for (const key of objects.keys()) if (!keys.has(key)) drop(key);
    list.items.forEach(put);
    listed.resolve();
    const answer = await read(`?watch=true&resourceVersion=${list.metadata.resourceVersion}`, signal);
    for await (const line of linesOf(answer)) {
      const { type, object } = JSON.parse(line) as { type: string; object: T };
      // Of any error, most often 410: the next list says how things are.
      if (type === "ERROR") return;
      if (type === "DELETED") drop(keyOf(object));
      else put(object);
    }
  };
  void (async () => {
    while (!signal.aborted) {
      await listAndWatch().catch(() => {});
      if (!signal.aborted) await sleep(RETRY_MS);
    }
  })();
  return { objects, isListed: listed.promise, close: () => stopping.abort() };
}

export function keyOf({ metadata }: KubeObject): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}

async function* linesOf(response: Response): AsyncGenerator<string> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import { createGateway } from "../../src/serving/gateway.ts";
import { createCapture } from "../../src/serving/gateway/capture/capture.ts";
import { createEmitter, type SendSpans } from "../../src/serving/gateway/capture/emitter.ts";
import type { ReplicaSource } from "../../src/serving/replica-source.ts";
import { createRouteTable } from "../../src/serving/route-table.ts";
import type { Routes } from "../../src/serving/routes.ts";
import type { Config } from "../../src/config.ts";
import { decodeSpans } from "../../src/trace/decode.ts";

export const BASE = { name: "base", digest: "sha256:base" };
export const STABLE = { name: "shop-1-aaaaaaaaaaaa", digest: "sha256:aaaa" };
export const CANDIDATE = { name: "shop-2-bbbbbbbbbbbb", digest: "sha256:bbbb" };

/** Routes of an experiment with the candidate at `weight`. */
export function experiment(weight: number, changes: Partial<Routes> = {}): Routes {
  return {
    agent: "shop",
    model: "shop-model",
    version: 1,
    generation: 1,
    stable: STABLE,
    candidate: { ...CANDIDATE, weight },
    experimentId: "exp-1",
    salt: "salt-1",
    ...changes,
  };
}

/** A started gateway of one agent, `shop`, whose public model name is `shop-model`. Closes with `await using`. */
export async function startGateway(options: {
  upstreams: readonly { url: string; apiKey?: string; readinessUrl?: string; isReady?: boolean }[];
  replicas?: ReplicaSource;
  gateway?: Partial<Config["gateway"]>;
  routes?: Routes;
  monotonicMs?: () => number;
  sendSpans?: SendSpans;
}) {
  const config = { ...parseConfig({}).gateway, port: 0, ...options.gateway };
  const monotonicMs = options.monotonicMs ?? (() => performance.now());
  const log = silentLog();
  const routes = await createRouteTable({ leaseMs: config.leaseMs }, { monotonicMs, log });
  if (options.routes !== undefined) routes.receive(options.routes);
  const requests: Uint8Array[] = [];
  const sendSpans: SendSpans = (request) => {
    requests.push(request);
    return Promise.resolve(null);
  };
  const { upstreams, replicas } = options;
  const found = replicas === undefined ? {} : { replicas };
  const agents = [{ agent: "shop", model: "shop-model", base: BASE, upstreams, ...found, serviceName: "shop-agent" }];
  // In this thread, so that tests can read the spans; the thread of its own has tests below test/app.
  const capture = createCapture((settled) => createEmitter(agents, { sendSpans: options.sendSpans ?? sendSpans, settled }), log);
  const gateway = createGateway({ gateway: config, agents }, { routes, log, capture, monotonicMs });
  const { port } = await gateway.start();
  let closed: Promise<void> | null = null;
  const close = () => (closed ??= gateway.close());
  return {
    url: `http://127.0.0.1:${port}`,
    routes,
    close,
    /** Closes the gateway, which exports what it captured. */
    async spans() {
      await close();
      return requests.flatMap((request) => decodeSpans(request).map(({ value }) => value));
    },
    /** A chat of the agent; `x-trajectory-id` is the assignment key. */
    chat: (key: string, body: Record<string, unknown> = {}, headers: Record<string, string> = {}, signal?: AbortSignal) =>
      fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-trajectory-id": key, ...headers },
        ...(signal === undefined ? {} : { signal }),
        body: JSON.stringify({ model: "shop-model", messages: [{ role: "user", content: "hi" }], ...body }),
      }),
    [Symbol.asyncDispose]: close,
  };
}

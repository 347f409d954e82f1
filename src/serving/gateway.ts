import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { createAssignmentPins } from "./assignment-pins.ts";
import type { Capture } from "./gateway/capture/capture.ts";
import { createLiveHandler, passModels } from "./gateway/live.ts";
import type { ServedAgent } from "./gateway/live-request.ts";
import { sendRefusal } from "./gateway/refusal.ts";
import { createFleet, type Upstream } from "./gateway/replicas.ts";
import { endpointOf } from "./gateway/endpoint.ts";
import type { RouteTable } from "./route-table.ts";
import type { ReplicaAddress, ReplicaSource } from "./replica-source.ts";
import type { RouteTarget } from "./routes.ts";

/** One agent as the gateway serves it. */
export interface GatewayAgent {
  agent: string;
  /** Public model name that the agent asks for; no two agents share one. */
  model: string;
  /** Served when no routes are known, and when the stable adapter is gone from every replica. */
  base: RouteTarget;
  /** Always there; beside those of `replicas`, where it is set. */
  upstreams: readonly Upstream[];
  /** Replicas that come and go. */
  replicas?: ReplicaSource;
  /** `service.name` and `gen_ai.agent.name` by which the agent's telemetry is matched. */
  serviceName: string;
  agentName?: string | undefined;
}

export interface GatewayDeps {
  routes: RouteTable;
  log: Logger;
  /** Hears of live calls, and is closed after the last one; null captures nothing. */
  capture: Capture | null;
  /** Milliseconds on a clock that never jumps. */
  monotonicMs: () => number;
}

export interface Gateway {
  /** Listens. @throws NightshiftError `port_taken` */
  start(): Promise<{ port: number }>;
  /** Refuses new calls, lets running ones end for a while, exports their spans. */
  close(): Promise<void>;
}

/** Longer than any client's or balancer's idle timeout, so that the client closes first and no request meets a closing socket. */
const KEEP_ALIVE_MS = 75_000;

/**
 * The OpenAI-compatible gateway between agents and their policy servers. Whatever Nightshift's other parts do, a call is answered by the stable
 * adapter (or the base) as long as one policy server answers.
 */
export function createGateway(config: { gateway: Config["gateway"]; agents: readonly GatewayAgent[] }, deps: GatewayDeps): Gateway {
  const agents = createAgents(config, deps);
  const pins = createAssignmentPins(config.gateway, deps);
  const live = createLiveHandler(config.gateway, { agents, pins, capture: deps.capture, routes: deps.routes, log: deps.log });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const endpoint = endpointOf(request.method ?? "", request.url ?? "");
    switch (endpoint.kind) {
      case "live":
        return live(request, response, endpoint);
      case "models":
        return passModels(request, response, agents);
      case "health":
        // This process lives, no more: with everything else down it may be what still answers, and must not be taken out of service.
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ status: "ok" }));
        return;
      case "refused":
        return sendRefusal(response, endpoint.refusal);
    }
  }

  const running = new Set<Promise<void>>();
  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    const over = new Promise<void>((resolve) => {
      response.once("close", () => {
        running.delete(over);
        resolve();
      });
    });
    running.add(over);
    handle(request, response).catch((cause: unknown) => {
      // A client that went away is no fault; anything else that lands here is one of ours.
      if (!response.destroyed) deps.log.error({ err: cause }, "call failed in the gateway");
      sendRefusal(response, { status: 502, code: "gateway_error", message: "The gateway could not complete this call." });
    });
  });

  return {
    start: () => listen(server, config.gateway),
    async close() {
      await drain(server, running, config.gateway.drainMs);
      await deps.capture?.close();
      await Promise.all([...agents.values()].map((agent) => agent.fleet.close()));
    },
  };
}

/** Starts a gateway; one that cannot is closed, with all that it was given. @throws NightshiftError `port_taken` */
export async function startOrClose(gateway: Gateway): Promise<{ port: number }> {
  try {
    return await gateway.start();
  } catch (cause) {
    await gateway.close();
    throw cause;
  }
}

/** Stops listening, lets running calls end, then cuts what is left: to Node, a connection that never carried a request is not idle. */
async function drain(server: Server, running: ReadonlySet<Promise<void>>, drainMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  const isOver = new AbortController();
  await Promise.race([Promise.all(running), sleep(drainMs, undefined, { signal: isOver.signal }).catch(() => undefined)]);
  isOver.abort();
  server.closeAllConnections();
  await closed;
}

function createAgents(
  config: { gateway: Config["gateway"]; agents: readonly GatewayAgent[] },
  deps: GatewayDeps,
): ReadonlyMap<string, ServedAgent> {
  const { upstreamTimeoutMs: timeoutMs, maxConcurrency, maxQueue, queueTimeoutMs } = config.gateway;
  const byModel = new Map<string, ServedAgent>();
  for (const { agent, model, base, upstreams, replicas } of config.agents) {
    if (byModel.has(model)) {
      throw nightshiftError("config_invalid", {
        path: `agents.${agent}.model`,
        received: model,
        problem: "another agent has this public model name",
      });
    }
    const all = (): readonly Upstream[] => [...(replicas?.current() ?? []).map(upstreamOf), ...upstreams];
    const fleet = createFleet({ upstreams: all(), timeoutMs, maxConcurrency, maxQueue, queueTimeoutMs }, deps);
    byModel.set(model, { agent, model, base, fleet });
    replicas?.subscribe(() => fleet.update(all()));
  }
  return byModel;
}

function upstreamOf({ url, readinessUrl, isReady }: ReplicaAddress): Upstream {
  return { url, isReady, ...(readinessUrl === null ? {} : { readinessUrl }) };
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<{ port: number }> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      reject(cause.code === "EADDRINUSE" ? nightshiftError("port_taken", { what: "the gateway", host, port }, { cause }) : cause);
    });
    server.listen(port, host, () => resolve({ port: (server.address() as AddressInfo).port }));
  });
}

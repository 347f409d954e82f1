import { randomBytes } from "node:crypto";
import type { Server } from "node:http";
import { serve } from "@hono/node-server";
import type { Hono } from "hono";
import { LRUCache } from "lru-cache";
import { nightshiftError } from "../../errors.ts";
import type { ToolShape } from "../../trajectory/record-tape.ts";
import type { AgentSession } from "./agent-session.ts";
import { rolloutRoutes, type OpenRollout } from "./listener-routes.ts";
import { replayHandler } from "./mcp-server.ts";
import { createSseSessions } from "./mcp-sse.ts";

/** Where a rollout's agent finds its model and its tools. Whoever has `token` is that agent. */
export interface RolloutPlace {
  token: string;
  /** Every address of the rollout is below it. */
  baseUrl: string;
  /** As `OPENAI_BASE_URL`. */
  openaiBaseUrl: string;
  /** MCP over streamable HTTP. */
  mcpUrl: string;
  /** MCP's older transport: a stream of events. */
  sseUrl: string;
  /** `POST <toolsUrl>/<name>` with the arguments as JSON. */
  toolsUrl: string;
  /** Telemetry sent here is thrown away: a rollout is no production traffic. */
  otlpUrl: string;
  /** An origin of the rollout's own with `/tools/<name>`, for agents that build their tools' addresses from the root; null where none was asked for. */
  toolsOrigin: string | null;
  /** Nothing of this rollout is answered any more. */
  close(): Promise<void>;
}

/** The HTTP server that rollouts' agents talk to, in the process that plays the rollouts. It answers from open rollouts alone. */
export interface RolloutListener {
  /** Listens. @throws NightshiftError `port_taken` */
  start(): Promise<{ port: number }>;
  open(session: AgentSession, options: { tools: readonly ToolShape[]; ownOrigin: boolean }): Promise<RolloutPlace>;
  close(): Promise<void>;
}

/** Ended rollouts that are still told apart from unknown ones. */
const REMEMBERED = 10_000;

/** @param config `publicUrl`: how agents reach the listener, where not at its own host and port. */
export function createRolloutListener(config: { host: string; port: number; publicUrl?: string | undefined }): RolloutListener {
  const rollouts = new Map<string, OpenRollout>();
  const ended = new LRUCache<string, true>({ max: REMEMBERED });
  const find = (token: string): OpenRollout | "ended" | null => rollouts.get(token) ?? (ended.has(token) ? "ended" : null);
  const origins = new Set<Server>();
  let main: { server: Server; url: string } | null = null;

  return {
    async start() {
      const { server, port } = await listen(rolloutRoutes(find), config.host, config.port);
      main = { server, url: config.publicUrl ?? `http://${hostOf(config.host)}:${port}` };
      return { port };
    },
    async open(session, { tools, ownOrigin }) {
      if (main === null) throw new Error("the rollout listener has not been started");
      const token = randomBytes(24).toString("base64url");
      const baseUrl = `${main.url}/rollout/${token}`;
      const rollout: OpenRollout = { token, session, mcp: replayHandler(tools, session), sse: createSseSessions(), tools };
      rollouts.set(token, rollout);
      const own = ownOrigin ? await listen(rolloutRoutes(find, { onlyToolsOf: token }), config.host, 0) : null;
      if (own !== null) origins.add(own.server);
      return {
        token,
        baseUrl,
        openaiBaseUrl: `${baseUrl}/v1`,
        mcpUrl: `${baseUrl}/mcp`,
        sseUrl: `${baseUrl}/sse`,
        toolsUrl: `${baseUrl}/tools`,
        otlpUrl: `${baseUrl}/otlp`,
        toolsOrigin: own === null ? null : `http://${hostOf(config.host)}:${own.port}`,
        async close() {
          rollouts.delete(token);
          ended.set(token, true);
          await Promise.all([rollout.mcp.close(), rollout.sse.close(), ...(own === null ? [] : [stop(own.server)])]);
          if (own !== null) origins.delete(own.server);
        },
      };
    },
    async close() {
      await Promise.all([...(main === null ? [] : [main.server]), ...origins].map(stop));
    },
  };
}

/** An address that means every interface is reached at this machine's own. */
function hostOf(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}

function listen(app: Hono, hostname: string, port: number): Promise<{ server: Server; port: number }> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, hostname, port }, (address) => resolve({ server, port: address.port })) as Server;
    // Longer than any client keeps an idle connection: one that the server closes first can swallow a call.
    server.keepAliveTimeout = 75_000;
    server.once("error", (cause: NodeJS.ErrnoException) => {
      reject(
        cause.code === "EADDRINUSE"
          ? nightshiftError("port_taken", { what: "the rollout listener", host: hostname, port }, { cause })
          : cause,
      );
    });
  });
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

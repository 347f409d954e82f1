import { setTimeout as sleep } from "node:timers/promises";
import { Client, ProtocolError, StreamableHTTPClientTransport, type CallToolResult } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import type { BootstrapConfig } from "../../config-bootstrap.ts";
import { nightshiftError } from "../../errors.ts";
import type { ListedTool } from "../../scenario/bootstrap/tool-list.ts";
import { inheritedOf } from "../agent/agent-process.ts";
import { createBoundedFetch } from "./bounded-fetch.ts";

/** Where a sandboxed server is, with its credential. */
export interface McpPlace {
  server: BootstrapConfig["server"];
  token: string | null;
  /** Of this process; a command gets little of it. */
  env: Readonly<Record<string, string | undefined>>;
  timeoutMs: number;
}

export type McpAnswer =
  | { status: "answered"; result: CallToolResult }
  /** The server refused the call, as it would refuse it to any agent. */
  | { status: "refused"; message: string }
  /** No answer: too late, too long, or the server is gone. What it did is unknown. */
  | { status: "failed"; problem: string };

/** One connection to an MCP server; over a command, one process. */
export interface McpConnection {
  /** @throws NightshiftError `bootstrap_server_unavailable` */
  listTools(): Promise<readonly ListedTool[]>;
  /** Rejects only when `signal` aborts. */
  call(tool: string, args: Record<string, unknown>, options?: { signal?: AbortSignal }): Promise<McpAnswer>;
  /** Never rejects. */
  close(): Promise<void>;
}

/** No honest answer is near this; a server that goes on is left. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
const FAREWELL_MS = 1_000;

/** The server as a message may name it: no path, query or credential of a url. */
export function placeName({ url, command }: McpPlace["server"]): string {
  return url === undefined ? (command?.[0] ?? "").slice(0, 100) : new URL(url).origin;
}

/** @throws NightshiftError `bootstrap_server_unavailable` */
export async function connectMcp(place: McpPlace, { signal }: { signal?: AbortSignal } = {}): Promise<McpConnection> {
  const client = new Client({ name: "nightshift", version: "1" });
  const transport = transportTo(place);
  const options = { timeout: place.timeoutMs, maxTotalTimeout: place.timeoutMs, ...(signal === undefined ? {} : { signal }) };
  const close = async (): Promise<void> => {
    if (transport instanceof StreamableHTTPClientTransport) {
      // A server that keeps a world per session may let go of it; one that is gone is not waited for.
      await Promise.race([transport.terminateSession().catch(() => undefined), sleep(FAREWELL_MS, undefined, { ref: false })]);
    }
    await client.close().catch(() => undefined);
  };
  try {
    await within(client.connect(transport, options), place.timeoutMs);
  } catch (cause) {
    await close();
    throw unavailable(place, cause, signal);
  }
  return {
    async listTools() {
      try {
        return (await client.listTools(undefined, options)).tools;
      } catch (cause) {
        throw unavailable(place, cause, signal);
      }
    },
    async call(tool, args, { signal: stop } = {}) {
      try {
        const limits = { timeout: place.timeoutMs, maxTotalTimeout: place.timeoutMs };
        const result = await client.callTool({ name: tool, arguments: args }, stop === undefined ? limits : { ...limits, signal: stop });
        return { status: "answered", result };
      } catch (error) {
        if (stop?.aborted === true) throw stop.reason;
        if (error instanceof ProtocolError) return { status: "refused", message: error.message };
        return { status: "failed", problem: problemOf(error) };
      }
    },
    close,
  };
}

function transportTo({ server, token, env }: McpPlace): StreamableHTTPClientTransport | StdioClientTransport {
  const { url, command: [program = "", ...args] = [], directory } = server;
  if (url === undefined) {
    return new StdioClientTransport({
      ...{ command: program, args, env: { ...inheritedOf(env), ...server.env } },
      // It may hold what people said.
      stderr: "ignore",
      maxBufferSize: MAX_MESSAGE_BYTES,
      ...(directory === undefined ? {} : { cwd: directory }),
    });
  }
  return new StreamableHTTPClientTransport(new URL(url), {
    requestInit: token === null ? {} : { headers: { authorization: `Bearer ${token}` } },
    fetch: createBoundedFetch(MAX_MESSAGE_BYTES),
  });
}

/** The package's own limit does not cover a transport that never starts. */
async function within<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  const waiting = new AbortController();
  const late = sleep(timeoutMs, undefined, { signal: waiting.signal }).then(
    () => Promise.reject(new Error(`no answer in ${timeoutMs} ms`)),
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([work, late]);
  } finally {
    waiting.abort();
  }
}

function unavailable({ server }: McpPlace, cause: unknown, signal: AbortSignal | undefined): Error {
  if (signal?.aborted === true) return signal.reason as Error;
  return nightshiftError("bootstrap_server_unavailable", { server: placeName(server), problem: problemOf(cause) }, { cause });
}

/** What went wrong, without anything that the server said. */
function problemOf(error: unknown): string {
  const { cause, code, data } = error as { cause?: unknown; code?: unknown; data?: { status?: unknown } };
  if (typeof data?.status === "number") return `HTTP ${data.status}`;
  if (cause instanceof Error && "code" in cause) return String(cause.code).slice(0, 60);
  if (typeof code === "string" || typeof code === "number") return String(code).slice(0, 60);
  return error instanceof Error ? error.name.slice(0, 60) : "unknown";
}

import { Client, StreamableHTTPClientTransport, type FetchLike } from "@modelcontextprotocol/client";
import { createBoundedFetch } from "./live/bounded-fetch.ts";

export interface LiveQuestion {
  url: string;
  /** The tool's name there. */
  tool: string;
  args: unknown;
  /** Sent as bearer token with every request, and nowhere else. */
  token: string | null;
  maxBytes: number;
}

/** `problem` has nothing in it that the server said. */
export type LiveAnswer = { text: string; isError: boolean } | { problem: string };

/** All that a read says to a server: which tools there are, and the one call. A listing's answer has other bounds than a result's. */
const METHODS: ReadonlySet<string> = new Set([
  "initialize",
  "notifications/initialized",
  "server/discover",
  "tools/list",
  "notifications/cancelled",
]);
const MAX_LISTING_BYTES = 4 * 1024 * 1024;

/**
 * Calls one tool of an MCP server over streamable HTTP, in a session of its own. Nothing else is called: every request passes a wall that knows this tool's name only. A tool
 * that the server does not have, or that the server itself says writes, is not called; an answer is one text. Rejects when `signal` aborts.
 */
export async function readByMcp(read: LiveQuestion, signal: AbortSignal): Promise<LiveAnswer> {
  const client = new Client({ name: "nightshift-live-read", version: "1" }, { versionNegotiation: { mode: "auto" } });
  const transport = new StreamableHTTPClientTransport(new URL(read.url), {
    fetch: walled(read, signal),
    requestInit: { redirect: "error", headers: read.token === null ? {} : { authorization: `Bearer ${read.token}` } },
    // A read that broke off is a miss: nobody picks it up again.
    reconnectionOptions: { maxRetries: 0, initialReconnectionDelay: 0, maxReconnectionDelay: 0, reconnectionDelayGrowFactor: 1 },
  });
  try {
    await client.connect(transport, { signal });
    const { tools } = await client.listTools(undefined, { signal });
    const found = tools.find(({ name }) => name === read.tool);
    if (found === undefined) return { problem: "the server has no such tool" };
    const { readOnlyHint, destructiveHint } = found.annotations ?? {};
    // Hints may only take away: what says of itself that it writes is believed, whatever the operator listed.
    if (readOnlyHint === false || destructiveHint === true) return { problem: "the server says that the tool writes" };
    const { content, isError } = await client.callTool({ name: read.tool, arguments: read.args as Record<string, unknown> }, { signal });
    const [only, ...more] = content;
    if (only?.type !== "text" || more.length > 0) return { problem: "an answer that is not one text" };
    if (Buffer.byteLength(only.text) > read.maxBytes) return { problem: `more than ${read.maxBytes} bytes` };
    return { text: only.text, isError: isError === true };
  } finally {
    await client.close();
  }
}

/** Lets requests of this read through, to its own address; answers what a client may ask beside them as a server that has not got it. */
function walled(read: LiveQuestion, signal: AbortSignal): FetchLike {
  const reach = createBoundedFetch(read.maxBytes * 2 + MAX_LISTING_BYTES);
  return async (url, init = {}) => {
    if (new URL(url).href !== new URL(read.url).href) throw new Error("another address than the listed one");
    // A stream of the server's own messages: nothing in it is asked for.
    if (init.method === "GET") return new Response(null, { status: 405 });
    if (init.method !== "POST" || !isOfRead(init.body, read.tool)) throw new Error("a request that is no part of a read");
    return reach(url, { ...init, signal: AbortSignal.any([signal, ...(init.signal == null ? [] : [init.signal])]) });
  };
}

function isOfRead(body: unknown, tool: string): boolean {
  if (typeof body !== "string") return false;
  const messages: unknown = JSON.parse(body);
  return (Array.isArray(messages) ? messages : [messages]).every((message: { method?: unknown; params?: { name?: unknown } }) => {
    if (message.method === "tools/call") return message.params?.name === tool;
    return typeof message.method === "string" && METHODS.has(message.method);
  });
}

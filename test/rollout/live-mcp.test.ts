import type { Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "@hono/node-server";
import { createMcpHandler, Server, type CallToolResult, type Tool } from "@modelcontextprotocol/server";
import { Hono } from "hono";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { readByMcp } from "../../src/rollout/live-mcp.ts";
import { createLiveReads, type LiveReadsConfig } from "../../src/rollout/live-reads.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { createOffTape } from "../../src/rollout/off-tape.ts";
import { cascadeFor, conversation, lookup, policyOf, refund, type Step } from "./build.ts";
import { planOf } from "./plan.ts";
import { createScriptedPolicy } from "./scripted-policy.ts";

const TOKEN = "read-only-secret-token";
const ORDER = '{"order_id":"A1","item":"lamp","status":"delivered","refunded":false}';
const text = (value: string, more: Partial<CallToolResult> = {}): CallToolResult => ({ content: [{ type: "text", text: value }], ...more });
const toolOf = (name: string, annotations: Tool["annotations"] = {}): Tool => ({ name, annotations, inputSchema: { type: "object" } });

/** A live MCP server as production has it: reads, and the writes that nothing may ever call. */
let tools: Tool[];
let result: CallToolResult | "hang";
let called: { name: string; args: unknown }[];
let asked: { method: string; authorization: string | undefined }[];
let refuse: { status: number; location?: string } | null;
let url = "";
let server: HttpServer;
beforeAll(async () => {
  const handler = createMcpHandler(() => {
    const shop = new Server({ name: "live-shop", version: "1" }, { capabilities: { tools: {} } });
    shop.setRequestHandler("tools/list", () => ({ tools }));
    shop.setRequestHandler("tools/call", ({ params }) => {
      called.push({ name: params.name, args: params.arguments });
      return result === "hang" ? new Promise<never>(() => undefined) : result;
    });
    return shop;
  });
  const app = new Hono();
  app.all("*", async (context) => {
    asked.push({ method: context.req.method, authorization: context.req.header("authorization") });
    if (refuse !== null)
      return new Response(`secret is ${TOKEN}`, {
        status: refuse.status,
        headers: refuse.location === undefined ? {} : { location: refuse.location },
      });
    return handler.fetch(context.req.raw);
  });
  server = await new Promise<HttpServer>((resolve) => {
    const listening = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, () => resolve(listening as HttpServer));
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  tools = [
    toolOf("lookup_order", { readOnlyHint: true }),
    toolOf("find"),
    toolOf("issue_refund", { destructiveHint: true }),
    toolOf("delete_everything"),
  ];
  result = text(ORDER);
  [called, asked, refuse] = [[], [], null];
});

const listed = { lookup_order: { url: "", protocol: "mcp" } };
function configOf(entries: Record<string, Record<string, unknown>> = listed, overrides: Partial<LiveReadsConfig> = {}): LiveReadsConfig {
  const withUrl = Object.fromEntries(Object.entries(entries).map(([name, entry]) => [name, { ...entry, url }]));
  const replay = { liveReads: { tools: withUrl, ...overrides } };
  return parseConfig({ agents: { shop: { model: "m", baseModel: "b", replay } } }).agents["shop"]?.replay.liveReads as LiveReadsConfig;
}

const mine = conversation("mine", [policyOf("lamp")], { says: "where is my order A1, or A2" });
const known = conversation("B1", [lookup("B1"), refund("B1")], { startMs: -1e6 });
/** A rollout that makes these calls, one a turn. */
async function playing(config: LiveReadsConfig, steps: readonly Pick<Step, "tool" | "args">[], groupSize = 1) {
  const logged: string[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => void logged.push(line) });
  const policyServer = createScriptedPolicy(({ messages }) => {
    const step = steps[messages.filter(({ role }) => role === "assistant").length];
    return step === undefined ? { reply: "done" } : { calls: [step] };
  });
  const liveReads = createLiveReads(config, { token: TOKEN, log, now: () => 86_400_000 });
  const offTape = createOffTape("shop", { simulator: null, user: null, liveReads });
  const { members } = await rolloutGroup(planOf(mine, policyServer, { cascade: cascadeFor([mine, known]), offTape, groupSize }));
  const results = members[0]?.messages.flatMap(({ parts }) =>
    parts.flatMap((part) => (part.type === "tool_call_response" ? [String(part["response"])] : [])),
  );
  return { members, journal: members[0]?.journal ?? [], end: members[0]?.end, results, logged: logged.join("\n") };
}

describe("a live read of an MCP tool", () => {
  it("answers once for all siblings, with the server's own text, and every request has the read-only credential", async () => {
    const { members, results } = await playing(configOf(), [lookup("A1")], 3);
    expect(called).toEqual([{ name: "lookup_order", args: { order_id: "A1" } }]);
    expect(results).toEqual([ORDER]);
    for (const { journal, end } of members) {
      expect(journal).toMatchObject([{ rung: "R6", isError: false, recordedAtMs: 86_400_000 }]);
      expect(end).toEqual({ status: "completed" });
    }
    expect(new Set(asked.map(({ authorization }) => authorization))).toEqual(new Set([`Bearer ${TOKEN}`]));
  });

  it("asks for the tool by the name that it has on the server", async () => {
    expect((await playing(configOf({ lookup_order: { protocol: "mcp", name: "find" } }), [lookup("A1")])).results).toEqual([ORDER]);
    expect(called.map(({ name }) => name)).toEqual(["find"]);
  });

  it("shows the server's own error as one", async () => {
    result = text("no such order", { isError: true });
    expect((await playing(configOf(), [lookup("A1")])).journal).toMatchObject([{ rung: "R6", isError: true }]);
  });

  it.each(["Rate limit exceeded, try again later", "HTTP 429: slow down", '{"error":"upstream timed out"}', "status 503"])(
    "takes an error that speaks of the server for no answer: %s",
    async (said) => {
      result = text(said, { isError: true });
      const { end, logged } = await playing(configOf(), [lookup("A1")]);
      expect(end).toEqual({ status: "masked", cause: "replay_miss" });
      expect(logged).toContain("live_read_failed");
      expect(logged).not.toContain(said);
    },
  );

  it("takes one that only has such a number in it for an answer", async () => {
    result = text("order 429 not found", { isError: true });
    expect((await playing(configOf(), [lookup("A1")])).journal).toMatchObject([{ rung: "R6", isError: true }]);
  });

  it.each<[string, () => void, Partial<LiveReadsConfig>?]>([
    ["a tool that is not on the server", () => (tools = [toolOf("issue_refund")])],
    ["a tool that says it writes", () => (tools = [toolOf("lookup_order", { readOnlyHint: false })])],
    ["a tool that says it destroys", () => (tools = [toolOf("lookup_order", { destructiveHint: true })])],
    ["a server that refuses", () => (refuse = { status: 401 })],
    ["a server that fails", () => (refuse = { status: 500 })],
    ["a redirect, which would carry the credential away", () => (refuse = { status: 307, location: "http://127.0.0.1:1/elsewhere" })],
  ])("is a miss, and nothing is called, with %s", async (_, change) => {
    change();
    const { end, logged } = await playing(configOf(), [lookup("A1")]);
    expect([end, called]).toEqual([{ status: "masked", cause: "replay_miss" }, []]);
    expect(logged).toContain("live_read_failed");
    expect(logged).not.toContain(TOKEN);
  });

  it.each<[string, CallToolResult | "hang", Partial<LiveReadsConfig>]>([
    ["more than one text", { content: [...text("a").content, ...text("b").content] }, {}],
    ["no text", { content: [{ type: "image", data: "AA==", mimeType: "image/png" }] }, {}],
    ["a text that is too long", text("x".repeat(5_000)), { maxBytes: 4_096 }],
    ["a body that is far too long", text("x".repeat(5_000_000)), { maxBytes: 4_096 }],
    ["nothing in time", "hang", { timeoutMs: 300 }],
  ])("is a miss where the server answers %s", async (_, answer, overrides) => {
    result = answer;
    const { end, logged } = await playing(configOf(listed, overrides), [lookup("A1")]);
    expect(end).toEqual({ status: "masked", cause: "replay_miss" });
    expect(logged).toContain("live_read_failed");
  });

  it("ends with the rollout's abort", async () => {
    result = "hang";
    const stop = new AbortController();
    const reading = readByMcp({ url, tool: "lookup_order", args: {}, token: null, maxBytes: 100 }, stop.signal);
    await expect.poll(() => called.length).toBe(1);
    stop.abort();
    await expect(reading).rejects.toThrow(/abort/i);
  });
});

describe("the tripwire", () => {
  it("is never touched: no tool but the listed read is ever called, whatever a rollout asks for", async () => {
    const entries = {
      lookup_order: { protocol: "mcp" },
      issue_refund: { protocol: "mcp" },
      delete_everything: { protocol: "mcp" },
      refund_policy: { protocol: "mcp" },
    };
    const wants = [refund("A1"), { tool: "delete_everything", args: {} }, { tool: "__proto__", args: {} }, policyOf("desk"), lookup("Z77")];
    for (const want of wants) await playing(configOf(entries), [want]);
    expect([called, asked]).toEqual([[], []]);
    // Reads that are answered call themselves alone, also after what was refused.
    await playing(configOf(entries), [{ tool: "delete_everything", args: {} }, lookup("A1"), lookup("A2"), refund("A1")]);
    expect(called.map(({ name }) => name)).toEqual(["lookup_order", "lookup_order"]);
  });
});

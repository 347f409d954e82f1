import { fileURLToPath } from "node:url";
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { agentReplaySchema } from "../../src/config-agent-replay.ts";
import { createAgentDriver } from "../../src/rollout/agent/agent-driver.ts";
import { createAgentSession } from "../../src/rollout/agent/agent-session.ts";
import { createRolloutListener, type RolloutListener } from "../../src/rollout/agent/listener.ts";
import { mcpContentOf } from "../../src/rollout/agent/mcp-content.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { createReplaySession } from "../../src/rollout/replay-session.ts";
import { startOf } from "../../src/rollout/start.ts";
import { isToolCallResponse } from "../../src/trace/message.ts";
import { cascadeFor, conversation, lookup, policyOf, refund, type Step } from "./build.ts";
import { silentLog } from "../../src/log.ts";
import { record, type Recorder } from "../quickstart/fake-model-server.ts";
import { startHttpPolicy, type HttpPolicy } from "./http-policy.ts";
import { planOf, scenarioOf } from "./plan.ts";

const script = fileURLToPath(new URL("../fixtures/otlp/sdk/mcp-agents/openai-agents.mjs", import.meta.url));
const turns: Step[][] = [[lookup("A1"), policyOf("lamp")], [refund("A1")]];
const recorded = conversation("talk", turns, { says: "refund A1" });
const cascade = cascadeFor([recorded]);

let model: HttpPolicy;
let listener: RolloutListener;
/** The shop's live MCP server, as production's environment names it. */
let live: Recorder;
beforeAll(async () => {
  model = await startHttpPolicy((messages) => {
    const turn = turns[messages.filter(({ role }) => role === "assistant").length];
    return turn === undefined ? { reply: "Refunded. 🎉" } : { calls: turn };
  });
  listener = createRolloutListener({ host: "127.0.0.1", port: 0 });
  await listener.start();
  live = await record(() => ({ status: 200, body: {} }));
});
afterAll(() => Promise.all([model.close(), listener.close(), live.close()]));

describe.each([
  ["http", "chat_completions"],
  ["sse", "chat_completions"],
  ["http", "responses"],
])("an agent of the OpenAI Agents SDK, streaming, its tools by MCP over %s, its model by %s", (transport, api) => {
  test("plays from the tapes, and its next requests carry the recorded bytes", { timeout: 180_000 }, async () => {
    const config = agentReplaySchema.parse({
      command: [process.execPath, script],
      env: {
        SHOP_MCP_URL: transport === "sse" ? "{sseUrl}" : "{mcpUrl}",
        SHOP_MCP_TRANSPORT: transport,
        // The SDK asks by the Responses API of itself.
        ...(api === "responses" ? {} : { SHOP_OPENAI_API: api }),
      },
      timeoutMs: 90_000,
    });
    const agentDriver = createAgentDriver(config, { listener, env: { ...process.env, SHOP_MCP_URL: live.url }, log: silentLog() });
    const plan = planOf(recorded, model.policyServer, {
      scenario: { ...scenarioOf(recorded), mode: "agent" },
      cascade,
      agentDriver,
      groupSize: 2,
    });
    const group = await rolloutGroup(plan);
    for (const { end, calls, journal, messages } of group.members) {
      expect(end).toEqual({ status: "completed" });
      expect(calls).toHaveLength(3);
      expect(journal.map(({ tool, rung }) => `${tool} ${rung}`)).toEqual(["lookup_order R1", "refund_policy R0", "issue_refund R1"]);
      const answers = messages.flatMap(({ parts }) => parts.filter(isToolCallResponse)).map(({ response }) => response);
      expect(answers).toEqual(turns.flat().map(({ result }) => JSON.stringify(result)));
      expect(messages.at(-1)).toEqual({ role: "assistant", parts: [{ type: "text", content: "Refunded. 🎉" }] });
    }
    expect(encodeGroup(await rolloutGroup(plan))).toEqual(encodeGroup(group));
    expect(live.received).toEqual([]);
  });
});

describe("what was recorded as a framework wrote it down", () => {
  const item = { type: "text", text: '{"a":1}' };
  test.each([
    ["a text", "plain", ["plain"]],
    ["JSON that is the tool's own", '{"content":"none","type":"lamp"}', ['{"content":"none","type":"lamp"}']],
    ["an item", JSON.stringify(item), ['{"a":1}']],
    ["a list of items", JSON.stringify([item, item]), ['{"a":1}', '{"a":1}']],
    ["a list of items and others", JSON.stringify([item, 2]), [JSON.stringify([item, 2])]],
    ["an empty list", "[]", ["[]"]],
    ["the whole result", JSON.stringify({ content: [item], isError: false }), ['{"a":1}']],
  ])("is unwrapped: %s", (_, text, content) => {
    expect(mcpContentOf({ text, isError: false })).toEqual({ content: content.map((one) => ({ type: "text", text: one })) });
    expect(mcpContentOf({ text, isError: true }).isError).toBe(true);
  });
});

describe("the replayed MCP server", () => {
  const open = async () => {
    const plan = planOf(recorded, model.policyServer, { cascade });
    const member = { ...plan, start: startOf(plan.scenario), rolloutId: "r-1", seed: 1 };
    const tools = createReplaySession(member);
    const session = createAgentSession(member, tools);
    return { session, tools, place: await listener.open(session, { tools: plan.scenario.start.tools, ownOrigin: false }) };
  };

  test.each([
    ["the 2024 transport", (place: { sseUrl: string }) => new SSEClientTransport(new URL(place.sseUrl)), undefined],
    ["the 2025 handshake", (place: { mcpUrl: string }) => new StreamableHTTPClientTransport(new URL(place.mcpUrl)), undefined],
    ["the 2026 requests without one", (place: { mcpUrl: string }) => new StreamableHTTPClientTransport(new URL(place.mcpUrl)), "modern"],
  ])("speaks %s", async (_, transportTo, era) => {
    const { place, tools } = await open();
    const client = new Client(
      { name: "agent", version: "1" },
      era === undefined ? {} : { versionNegotiation: { mode: { pin: "2026-07-28" } } },
    );
    await client.connect(transportTo(place));
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(["lookup_order", "refund_policy", "issue_refund"]);
    const found = await client.callTool({ name: "lookup_order", arguments: { order_id: "A1" } });
    expect(found.content).toEqual([{ type: "text", text: JSON.stringify(lookup("A1").result) }]);
    // Not in the recording: answered from it all the same, as a mistake of the agent.
    const unknown = await client.callTool({ name: "delete_everything", arguments: {} });
    expect(unknown.isError).toBe(true);
    expect(tools.journal().map(({ tool, rung }) => `${tool} ${rung}`)).toEqual(["lookup_order R1", "delete_everything agent_error"]);
    await client.close();
    await place.close();
  });

  test("refuses whoever talks to it after its rollout has ended, and journals nothing", async () => {
    const { place, session, tools } = await open();
    const client = new Client({ name: "agent", version: "1" });
    await client.connect(new StreamableHTTPClientTransport(new URL(place.mcpUrl)));
    await client.callTool({ name: "lookup_order", arguments: { order_id: "A1" } });
    session.finish({ status: "completed" });
    await expect(client.callTool({ name: "issue_refund", arguments: { order_id: "A1" } })).rejects.toThrow(/410|ended/);
    await place.close();
    await expect(client.callTool({ name: "issue_refund", arguments: { order_id: "A1" } })).rejects.toThrow(/410|ended/);
    expect(tools.journal()).toHaveLength(1);
    const late = await fetch(`${place.toolsUrl}/issue_refund`, { method: "POST", body: '{"order_id":"A1"}' });
    expect([late.status, ((await late.json()) as { error: { code: string } }).error.code]).toEqual([410, "rollout_ended"]);
  });
});

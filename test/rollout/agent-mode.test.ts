import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startShop, type RunningShop } from "../../deploy/quickstart/shop-server.ts";
import { systemPrompt, toolProfiles, tools } from "../../deploy/quickstart/tools.ts";
import { createAgentDriver } from "../../src/rollout/agent/agent-driver.ts";
import { createRolloutListener, type RolloutListener } from "../../src/rollout/agent/listener.ts";
import { agentReplaySchema } from "../../src/config-agent-replay.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import type { ChatMessage } from "../../src/serving/policy-server.ts";
import { toolConfig } from "../worlds/world.ts";
import { cascadeFor, conversation, type Step } from "./build.ts";
import { startHttpPolicy, type HttpPolicy } from "./http-policy.ts";
import { planOf, scenarioOf } from "./plan.ts";

const node = process.execPath;
const untouched = { calls: { lookup_order: 0, refund_policy: 0, issue_refund: 0 }, writes: 0 };
const quickstartAgent = fileURLToPath(new URL("../../deploy/quickstart/agent.ts", import.meta.url));
const steps: Step[] = [
  { tool: "lookup_order", args: { order_id: "A0001" }, result: { order_id: "A0001", item: "mug", status: "shipped", age_days: 3 } },
  { tool: "refund_policy", args: { item: "mug" }, result: { item: "mug", refund_days: 14 } },
  { tool: "issue_refund", args: { order_id: "A0001" }, result: { order_id: "A0001", refunded: true } },
];
const recorded = (() => {
  const plain = conversation("talk", steps, {
    says: "refund A0001",
    tools: tools.map(({ function: { name, description, parameters } }) => ({ name, description, parameters: { ...parameters } })),
  });
  const [, ...rest] = plain.messages;
  return { ...plain, messages: [{ role: "system", parts: [{ type: "text", content: systemPrompt }] }, ...rest] };
})();
const configs = Object.fromEntries(
  Object.entries(toolProfiles).map(([name, { entityPaths, ...profile }]) => [name, toolConfig({ ...profile, entityPaths: [...entityPaths] })]),
);
const cascade = cascadeFor([recorded], { configs });
/** Most members refund, some only look. */
const policy = (messages: readonly ChatMessage[], random: { next(): number }) => {
  const turn = messages.filter(({ role }) => role === "assistant").length;
  const step = steps[turn];
  if (step === undefined || (turn === 1 && random.next() < 0.3)) return { reply: "Done." };
  return { calls: [{ tool: step.tool, args: step.args }] };
};

let model: HttpPolicy;
let listener: RolloutListener;
let shop: RunningShop;

beforeAll(async () => {
  model = await startHttpPolicy(policy as never);
  listener = createRolloutListener({ host: "127.0.0.1", port: 0 });
  await listener.start();
  shop = await startShop({ orders: [{ orderId: "A0001", item: "mug", status: "shipped", ageDays: 3, refunded: false }] });
});

afterAll(async () => {
  await Promise.all([model.close(), listener.close(), shop.close()]);
});

const driverOf = (config: unknown) =>
  createAgentDriver(agentReplaySchema.parse(config), { listener, env: { ...process.env, SHOP_URL: shop.url, OPENAI_API_KEY: "upstream" } });

const quickstart = {
  command: [node, "--disable-warning=ExperimentalWarning", quickstartAgent],
  env: { PORT: "{port}", SHOP_URL: "{toolsOrigin}", MODEL: "shop-support" },
  readyUrl: "http://127.0.0.1:{port}/health",
  request: {
    url: "http://127.0.0.1:{port}/conversations",
    body: { conversationId: "{conversationId}", userId: "{userId}", message: "{message}" },
  },
  timeoutMs: 15_000,
};

describe("the quickstart's agent, unchanged", () => {
  test("makes the group that the loop makes, and never reaches the shop", { timeout: 60_000 }, async () => {
    const scenario = { ...scenarioOf(recorded), mode: "agent" as const };
    const plan = planOf(recorded, model.policyServer, { scenario, cascade, agentDriver: driverOf(quickstart), groupSize: 4 });
    const [byAgent, byLoop] = await Promise.all([rolloutGroup(plan), rolloutGroup({ ...plan, scenario: { ...scenario, mode: "loop" } })]);
    expect(byAgent.members.map(({ end }) => end)).toEqual(byLoop.members.map(() => ({ status: "completed" })));
    expect(new TextDecoder().decode(encodeGroup(byAgent))).toBe(new TextDecoder().decode(encodeGroup(byLoop)));
    expect(shop.shop.counters()).toEqual(untouched);
  });
});

import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AGENT } from "../../deploy/quickstart/settings.ts";
import { systemPrompt, toolProfiles, tools } from "../../deploy/quickstart/tools.ts";
import { agentReplaySchema } from "../../src/config-agent-replay.ts";
import { silentLog } from "../../src/log.ts";
import { createAgentDriver } from "../../src/rollout/agent/agent-driver.ts";
import { createRolloutListener, type RolloutListener } from "../../src/rollout/agent/listener.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import type { TrajectoryGroup } from "../../src/rollout/group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import type { EmbeddedServer } from "../../src/serving/embedded.ts";
import { createVllm } from "../../src/serving/vllm.ts";
import { cascadeFor, conversation, type Step } from "../rollout/build.ts";
import { planOf, scenarioOf } from "../rollout/plan.ts";
import { toolConfig } from "../worlds/world.ts";
import { startPolicyServer } from "./small-shop.ts";

const script = fileURLToPath(new URL("../fixtures/otlp/sdk/http-agents/ai-sdk.mjs", import.meta.url));
const steps: Step[] = [
  { tool: "lookup_order", args: { order_id: "A0001" }, result: { order_id: "A0001", item: "mug", status: "shipped", age_days: 3 } },
  { tool: "refund_policy", args: { item: "mug" }, result: { item: "mug", refund_days: 14 } },
  { tool: "issue_refund", args: { order_id: "A0001" }, result: { order_id: "A0001", refunded: true } },
];
const definitions = tools.map(({ function: { name, description, parameters } }) => ({ name, description, parameters: { ...parameters } }));
const plain = conversation("talk", steps, { says: "I want a refund for order A0001.", tools: definitions });
const recorded = {
  ...plain,
  messages: [{ role: "system" as const, parts: [{ type: "text" as const, content: systemPrompt }] }, ...plain.messages.slice(1)],
};
const configs = Object.fromEntries(
  Object.entries(toolProfiles).map(([name, { entityPaths, ...profile }]) => [
    name,
    toolConfig({ ...profile, entityPaths: [...entityPaths] }),
  ]),
);

let server: EmbeddedServer;
let policyServer: ReturnType<typeof createVllm>;
let listener: RolloutListener;
beforeAll(async () => {
  listener = createRolloutListener({ host: "127.0.0.1", port: 0 });
  [server] = await Promise.all([startPolicyServer(), listener.start()]);
  policyServer = createVllm({ url: server.url, timeoutMs: 60_000, connections: 16 });
});
afterAll(async () => {
  await listener.close();
  await policyServer?.close();
  await server?.close();
});

test("an agent that streams samples on the embedded server what the loop samples there, byte for byte", async () => {
  const config = agentReplaySchema.parse({
    command: [process.execPath, script],
    env: { SHOP_URL: "{toolsOrigin}", SHOP_TOOLS: JSON.stringify(definitions), SHOP_SYSTEM: systemPrompt, AI_SDK: "7" },
    ...{ timeoutMs: 90_000, concurrency: 2 },
  });
  const agentDriver = createAgentDriver(config, { listener, env: process.env, log: silentLog() });
  const scenario = { ...scenarioOf(recorded), mode: "agent" as const };
  const plan = planOf(recorded, policyServer, {
    ...{ scenario, agentDriver, groupSize: 6, model: AGENT, limits: { maxCalls: 5, maxSimulatedShare: 0.4, maxAttempts: 3 } },
    cascade: cascadeFor([recorded], { configs }),
  });
  const byAgent = await rolloutGroup(plan);
  const byLoop = await rolloutGroup({ ...plan, scenario: { ...scenario, mode: "loop" } });
  const bytes = (group: TrajectoryGroup): string => new TextDecoder().decode(encodeGroup({ ...group, played: { mode: "loop" } }));
  expect(bytes(byAgent)).toBe(bytes(byLoop));
  // The model is a tiny one, and still does its work: something was asked, and answered from the tape.
  expect(byAgent.members.flatMap(({ journal }) => journal.map(({ rung }) => rung))).toContain("R1");
});

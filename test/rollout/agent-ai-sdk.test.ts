import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { agentReplaySchema } from "../../src/config-agent-replay.ts";
import { silentLog } from "../../src/log.ts";
import { createAgentDriver } from "../../src/rollout/agent/agent-driver.ts";
import { createRolloutListener, type RolloutListener } from "../../src/rollout/agent/listener.ts";
import { encodeGroup } from "../../src/rollout/encode-group.ts";
import type { TrajectoryGroup } from "../../src/rollout/group.ts";
import { rolloutGroup } from "../../src/rollout/loop.ts";
import { record, type Recorder } from "../quickstart/fake-model-server.ts";
import { cascadeFor, conversation, lookup, notFound, policyOf, refund, type Step } from "./build.ts";
import { startHttpPolicy, type HttpPolicy } from "./http-policy.ts";
import { planOf, scenarioOf } from "./plan.ts";

const script = fileURLToPath(new URL("../fixtures/otlp/sdk/http-agents/ai-sdk.mjs", import.meta.url));
const turns: Step[][] = [[lookup("A1"), policyOf("lamp"), notFound("A2")], [refund("A1")]];
const recorded = conversation("talk", turns, { says: "refund A1, and A2" });
const cascade = cascadeFor([recorded]);

let model: HttpPolicy;
let listener: RolloutListener;
/** The shop's live API, as production's environment names it. */
let live: Recorder;
beforeAll(async () => {
  model = await startHttpPolicy((messages) => {
    const turn = turns[messages.filter(({ role }) => role === "assistant").length];
    return turn === undefined ? { reply: "Refunded A1. There is no A2 🎉, sorry about that." } : { calls: turn };
  });
  listener = createRolloutListener({ host: "127.0.0.1", port: 0 });
  await listener.start();
  live = await record(() => ({ status: 200, body: {} }));
});
afterAll(() => Promise.all([model.close(), listener.close(), live.close()]));

describe.each(["6", "7"])("an agent of the Vercel AI SDK %s, streaming, its tools over HTTP", (version) => {
  test("makes the group that the loop makes, however its parallel calls arrive", { timeout: 180_000 }, async () => {
    const config = agentReplaySchema.parse({
      command: [process.execPath, script],
      env: { SHOP_URL: "{toolsOrigin}", SHOP_TOOLS: JSON.stringify(recorded.tools), AI_SDK: version },
      timeoutMs: 90_000,
    });
    const agentDriver = createAgentDriver(config, { listener, env: { ...process.env, SHOP_URL: live.url }, log: silentLog() });
    const scenario = { ...scenarioOf(recorded), mode: "agent" as const };
    const plan = planOf(recorded, model.policyServer, { scenario, cascade, agentDriver, groupSize: 2 });
    const [byAgent, byLoop] = await Promise.all([rolloutGroup(plan), rolloutGroup({ ...plan, scenario: { ...scenario, mode: "loop" } })]);
    for (const { end, journal } of byAgent.members) {
      expect(end).toEqual({ status: "completed" });
      expect(journal.map(({ tool, rung }) => `${tool} ${rung}`)).toEqual([
        "lookup_order R1",
        "refund_policy R0",
        "lookup_order R1",
        "issue_refund R1",
      ]);
    }
    const bytes = (group: TrajectoryGroup): string => new TextDecoder().decode(encodeGroup({ ...group, played: { mode: "loop" } }));
    expect(bytes(byAgent)).toBe(bytes(byLoop));
    expect(live.received).toEqual([]);
  });
});

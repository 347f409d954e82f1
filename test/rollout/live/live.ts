import { bootstrapSchema, type BootstrapConfig } from "../../../src/config-bootstrap.ts";
import { silentLog } from "../../../src/log.ts";
import { createCallBudget, type CallBudget } from "../../../src/rollout/live/call-budget.ts";
import { createLiveWorld, type LiveWorld } from "../../../src/rollout/live/live-world.ts";
import { startOf } from "../../../src/rollout/start.ts";
import type { GroupPlan, MemberPlan } from "../../../src/rollout/plan.ts";
import { createRecordings } from "../../../src/rollout/recordings.ts";
import { scenarioOfTask } from "../../../src/scenario/bootstrap/task-scenario.ts";
import type { TaskTool } from "../../../src/scenario/bootstrap/tool-list.ts";
import type { Scenario } from "../../../src/scenario/scenario.ts";
import { parseConfig } from "../../../src/config.ts";
import { createLimiter } from "../../../src/limiter.ts";

const NOW_MS = 1_800_000_000_000;

export const openBudget = (maxCalls = 1_000): CallBudget =>
  createCallBudget({ maxCalls, used: 0, untilMs: NOW_MS + 1 }, { now: () => NOW_MS });

export function worldOf(
  given: Omit<Partial<BootstrapConfig>, "server" | "reset"> & { server: object; reset?: object },
  token: string | null = null,
): LiveWorld {
  const config = bootstrapSchema.parse({ sandboxed: true, ...given });
  const env = { PATH: process.env["PATH"], SECRET_OF_OURS: "x" };
  return createLiveWorld(config, { token, env, log: silentLog(), now: () => NOW_MS, monotonicMs: () => performance.now() });
}

export function taskScenario(tools: readonly TaskTool[], text = "Please refund my order A1."): Scenario {
  const task = { text, difficulty: 1, tools: ["issue_refund"] };
  return scenarioOfTask(task, {
    tenant: "default",
    agent: "shop",
    tools,
    systemPrompt: "Be kind.",
    heldOutShare: 0.05,
    maxCalls: 16,
    nowMs: NOW_MS,
  });
}

export function memberOf(scenario: Scenario): MemberPlan {
  return { scenario, start: startOf(scenario), rolloutId: "r-1", seed: 1 } as MemberPlan;
}

/** A group of three against a world. */
export function livePlan(world: LiveWorld, scenario: Scenario, policyServer: GroupPlan["policyServer"], budget = openBudget()): GroupPlan {
  const config = parseConfig({ agents: { shop: { model: "m", baseModel: "b" } } }).agents["shop"];
  if (config === undefined) throw new Error("the config has its agent");
  const recordings = createRecordings({ trajectories: [], feedback: [], config, nowMs: NOW_MS });
  return {
    ...{ scenario, policyServer, model: "base", adapterDigest: "base-0", runId: "run-1", groupSize: 3, runSeed: 7, iteration: 1 },
    cascade: recordings.cascade("train"),
    sampling: { temperature: 1, topP: 1, maxTokens: 64 },
    limits: { maxCalls: 16, maxSimulatedShare: 0.4, maxAttempts: 3 },
    limiter: createLimiter(world.concurrency),
    openTools: (member) => world.open(member, budget),
    live: world.isolation,
  };
}

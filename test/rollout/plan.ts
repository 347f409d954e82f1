import { createLimiter } from "../../src/limiter.ts";
import type { GroupPlan } from "../../src/rollout/plan.ts";
import type { Scenario } from "../../src/scenario/scenario.ts";
import { selectScenarios } from "../../src/scenario/select.ts";
import type { Trajectory } from "../../src/trajectory/trajectory.ts";
import { openScenarios } from "../scenario/settings.ts";
import { cascadeFor } from "./build.ts";

export function scenarioOf(trajectory: Trajectory): Scenario {
  const config = { ...openScenarios, heldOutShare: 0 };
  const { train } = selectScenarios({
    trajectories: [trajectory],
    tapes: [],
    feedback: [],
    config,
    seed: 1,
    nowMs: 1e9,
    count: 1,
    heldOutCount: 0,
  });
  return train[0] as Scenario;
}

/** A group of three over the one recorded conversation. */
export function planOf(recorded: Trajectory, policyServer: GroupPlan["policyServer"], overrides: Partial<GroupPlan> = {}): GroupPlan {
  return {
    scenario: scenarioOf(recorded),
    cascade: cascadeFor([recorded]),
    policyServer,
    model: "base",
    adapterDigest: "base-0",
    runId: "run-1",
    groupSize: 3,
    runSeed: 7,
    iteration: 0,
    sampling: { temperature: 1, topP: 1, maxTokens: 64 },
    limits: { maxCalls: 16, maxSimulatedShare: 0.4, maxAttempts: 3 },
    limiter: createLimiter(8),
    ...overrides,
  };
}

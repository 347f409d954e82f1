import { join } from "node:path";
import { toolProfiles } from "./tools.ts";

export const AGENT = "shop-support";
export const PRODUCTION_TEMPERATURE = 0.6;
/** Seconds between batches of the agent's telemetry; its SDK's default of 5 s would only make the newcomer wait. */
export const TELEMETRY_DELAY_MS = 200;

export type Sabotage = "gate" | "canary";

/** An LLM that judges in place of the script; its key stays in the environment, as NIGHTSHIFT_JUDGE_KEY. */
export interface LlmJudge {
  baseUrl: string;
  model: string;
  hasKey: boolean;
}

const scenario = {
  heldOutShare: 0.5,
  // A few minutes of one shop: too little to hold back tasks, or a span of time, beside users.
  heldOutClusterShare: 0,
  evaluationWindow: { minConversations: 0 },
  ...{ quarantineMs: 0, maxPerCluster: 1_000, minUsersPerCluster: 1, maxShareOfRunPerUser: 0.05 },
};

/** The configuration of the quickstart: what a user would write, with small numbers. */
export function quickstartConfig(options: {
  root: string;
  dataDir: string;
  seed: number;
  sabotage: Sabotage | null;
  judge?: LlmJudge | null;
}): Record<string, unknown> {
  const { root, dataDir, seed, sabotage, judge: llm } = options;
  const scripted = { driver: "scripted", module: join(root, "deploy/quickstart/judge.ts") };
  const judge = llm == null ? scripted : rulerConfig(llm);
  return {
    dataDir,
    python: join(root, ".venv/bin/python"),
    logLevel: "info",
    collector: { port: 0 },
    gateway: { port: 0 },
    api: { port: 0 },
    // Twice the agent's batch delay, rounded up.
    capture: { graceMs: 2 * TELEMETRY_DELAY_MS + 100, sweepMs: 200 },
    agents: {
      [AGENT]: {
        match: { agentName: AGENT },
        model: AGENT,
        baseModel: join(root, "deploy/quickstart/model"),
        // A server decodes on one thread: two of them use two cores.
        embeddedReplicas: 2,
        sampling: { temperature: PRODUCTION_TEMPERATURE, maxTokens: 64 },
        outcome: { feedback: "task_success", horizonMs: 20_000 },
        tools: toolProfiles,
        judge,
        pairJudge: scripted,
        // The scripted judges read the shop's own rules: there is nothing to calibrate. The output says so.
        requireCalibration: false,
        scenario,
        // Every customer has orders of their own: tapes of others predict little, and the shop's answers are learned from few.
        replay: { maxCalls: 6, concurrency: 160, minPredictedCoverage: 0 },
        night: {
          iterations: 8,
          scenarios: 20,
          groupSize: 8,
          // Its eight short iterations look again themselves; the time is better spent on them.
          probe: { members: 0 },
          seed,
          lora: { rank: 8, alpha: 32 },
          learningRate: 6e-4,
          klBeta: 0.01,
          minibatches: 2,
          ...(sabotage === null ? {} : { sabotage: sabotage === "gate" ? "shuffle_rewards" : "invert_rewards" }),
        },
        gate: { enabled: sabotage !== "canary", maxScenarios: 200 },
        canary: {
          mode: "improve",
          delta: 0,
          lambda0: 0.18,
          ramp: [{ weight: 0.1, untilUnits: 40 }, { weight: 0.5 }],
          maxUnits: 300,
          lookEvery: 5,
          dwellMs: 0,
          deadlineMs: 120_000,
          minCandidateUnits: 20,
        },
      },
    },
  };
}

function rulerConfig({ baseUrl, model, hasKey }: LlmJudge): Record<string, unknown> {
  return { driver: "ruler", baseUrl, model, ...(hasKey ? { apiKeyEnv: "NIGHTSHIFT_JUDGE_KEY" } : {}) };
}

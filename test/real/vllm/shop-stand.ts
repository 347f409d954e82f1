import { join } from "node:path";
import { baseModelDigest } from "../../../src/app/base-model.ts";
import { trainerDirectory } from "../../../src/app/agent-parts.ts";
import { createAgentFleet, type AgentFleet } from "../../../src/app/fleet.ts";
import type { Digest } from "../../../src/artifact/artifact-store.ts";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { loadSigningKey } from "../../../src/artifact/signing-key.ts";
import type { AgentConfig } from "../../../src/config.ts";
import { createLimiter } from "../../../src/limiter.ts";
import { createLog } from "../../../src/log.ts";
import { createScriptedJudge } from "../../../src/reward/judge-scripted.ts";
import { loadScriptedModule, type ScriptedModule } from "../../../src/reward/scripted-module.ts";
import { createRecordings, type Recordings } from "../../../src/rollout/recordings.ts";
import { createVllm } from "../../../src/serving/vllm.ts";
import { createPglite } from "../../../src/store/pglite.ts";
import { listAdapters, type RegisteredAdapter } from "../../../src/training/adapters.ts";
import { createLocalJobRunner } from "../../../src/training/local.ts";
import type { NightDeps } from "../../../src/training/night-context.ts";
import { runNight } from "../../../src/training/night.ts";
import { createRunStore } from "../../../src/training/run-store.ts";
import { configOf, ROOT } from "../../bench/replay-learning/settings.ts";
import { shop } from "../../bench/replay-learning/shop.ts";
import { recordDay } from "../../bench/replay-learning/traffic.ts";

export const MODEL = join(ROOT, "deploy/quickstart/model");
export const PYTHON = join(ROOT, ".venv/bin/python");
const RUN = "night";
const TALKING = 64;
const SERVE_LIMIT_MS = 60_000;
const NIGHT_LIMIT_MS = 500_000;

/** The quickstart's shop on one real vLLM server, with the product's own parts around it in this process: store, fleet with its adapter agent, nights with the trainer as their job. */
export interface ShopStand {
  config: AgentConfig;
  baseDigest: Digest;
  fleet: AgentFleet;
  deps: NightDeps;
  /** What the night's judge asks. */
  judging: ScriptedModule;
  /** Of the one night. */
  runDirectory: string;
  /** A day of customers with the base model. Resolves to the number of their conversations and how many helped. */
  day(): Promise<{ conversations: number; helped: number }>;
  recordings: () => Recordings;
  /** The night over that day. Resolves to its adapters, one an iteration. */
  night(): Promise<RegisteredAdapter[]>;
  /** Has the server load and prove these, and nothing else of ours. */
  serve(adapters: readonly RegisteredAdapter[]): Promise<void>;
  close(): Promise<void>;
}

/** @param night Merged over the quickstart's night. */
export async function openShopStand(options: {
  url: string;
  directory: string;
  seed: number;
  night: Partial<AgentConfig["night"]>;
}): Promise<ShopStand> {
  const { url, directory, seed } = options;
  const config = shopConfig(options);
  const agent = shop.agent;
  const log = createLog({ level: "warn", process: "test" });
  const database = await createPglite({ dir: null, log });
  await database.migrate();
  const now = (): number => Date.now();
  const parts = {
    ...{ database, log, now, monotonicMs: () => performance.now() },
    artifacts: createFileArtifactStore({ dir: join(directory, "artifacts") }),
    key: loadSigningKey(join(directory, "keys")),
  };
  const policyServer = createVllm({ url, timeoutMs: 120_000, connections: 256 });
  const baseDigest = await baseModelDigest(agent, config, join(directory, "base-digests.json"));
  const replicas = [{ name: "vllm-0", url, policyServer, instance: () => Promise.resolve(null) }];
  const fleet = createAgentFleet({ agent, config, replicas, baseDigest }, parts);
  const serve = async (adapters: readonly RegisteredAdapter[]): Promise<void> => {
    fleet.want(adapters);
    for (const adapter of adapters) await fleet.awaitServed(adapter, AbortSignal.timeout(SERVE_LIMIT_MS));
  };
  let recorded: Recordings | null = null;
  const recordings = (): Recordings => {
    if (recorded === null) throw new Error("nothing was recorded yet");
    return recorded;
  };
  const judging = await loadScriptedModule(shop.judge);
  const deps: NightDeps = {
    ...{ ...parts, runs: createRunStore(database, now), judgeDeviation: () => Promise.resolve(null), rewardCheck: null, agentDriver: null },
    judge: createScriptedJudge(judging),
    jobRunner: createLocalJobRunner({ python: PYTHON, trainerDirectory: trainerDirectory() }, { log }),
    recordings: () => Promise.resolve(recordings()),
    fleet: {
      ...{ policyServer: fleet.policyServer, baseDigest, release: () => undefined },
      ensureServed: (adapter) => serve([adapter]),
      stable: () => Promise.resolve({ name: config.model, digest: baseDigest, adapter: null }),
    },
  };
  const runsDirectory = join(directory, "runs");
  return {
    ...{ config, baseDigest, fleet, deps, judging, recordings, serve, runDirectory: join(runsDirectory, RUN) },
    async day() {
      const limiter = createLimiter(TALKING);
      const visits = await recordDay(shop, shop.day(seed), { policyServer, model: config.model, seed, limiter });
      recorded = createRecordings({ trajectories: visits.map(({ trajectory }) => trajectory), feedback: [], config, nowMs: now() });
      return { conversations: visits.length, helped: visits.filter(({ success }) => success).length };
    },
    async night() {
      await deps.runs.create({ id: RUN, tenant: config.tenant, agent, plan: {}, nowMs: now() });
      const signal = AbortSignal.timeout(NIGHT_LIMIT_MS);
      const outcome = await runNight({ runId: RUN, agent, config, runsDirectory, signal }, deps);
      if (outcome.kind !== "candidate") throw new Error(`the night ended with ${JSON.stringify(outcome)}`);
      const adapters = await listAdapters(database, { runId: RUN, limit: 10 });
      return adapters.toSorted((a, b) => a.iteration - b.iteration);
    },
    async close() {
      await deps.jobRunner.close();
      await fleet.close();
      await policyServer.close();
      await database.close();
    },
  };
}

/** The quickstart's agent. Half of the customers evaluate, as in the quickstart; the server was started for the priority that rollouts have by default. */
function shopConfig({ directory, seed, night }: { directory: string; seed: number; night: Partial<AgentConfig["night"]> }): AgentConfig {
  const config = configOf(shop, { baseModel: MODEL, dataDir: directory, seed });
  return { ...config, scenario: { ...config.scenario, heldOutShare: 0.5 }, night: { ...config.night, ...night } };
}

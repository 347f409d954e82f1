import { join } from "node:path";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { loadSigningKey } from "../../../src/artifact/signing-key.ts";
import { baseModelDigest } from "../../../src/app/base-model.ts";
import { trainerDirectory } from "../../../src/app/agent-parts.ts";
import type { AgentConfig } from "../../../src/config.ts";
import { createLog, type Logger } from "../../../src/log.ts";
import { createScriptedJudge } from "../../../src/reward/judge-scripted.ts";
import { loadScriptedModule } from "../../../src/reward/scripted-module.ts";
import type { GroupPlan } from "../../../src/rollout/plan.ts";
import { createRecordings } from "../../../src/rollout/recordings.ts";
import { startEmbeddedServer } from "../../../src/serving/embedded.ts";
import type { PolicyServer } from "../../../src/serving/policy-server.ts";
import { spreadCalls } from "../../../src/serving/spread.ts";
import { createVllm } from "../../../src/serving/vllm.ts";
import { createPglite } from "../../../src/store/pglite.ts";
import { adapterArtifact } from "../../../src/training/adapters.ts";
import { createLocalJobRunner } from "../../../src/training/local.ts";
import type { NightDeps } from "../../../src/training/night-context.ts";
import { runNight } from "../../../src/training/night.ts";
import { createRunStore } from "../../../src/training/run-store.ts";
import type { Trajectory } from "../../../src/trajectory/trajectory.ts";

/** One night to run: what was recorded, with which settings, and where tool calls of rollouts go (default: replay). */
export interface NightOrder {
  runId: string;
  config: AgentConfig;
  trajectories: readonly Trajectory[];
  openTools?: GroupPlan["openTools"];
}

/** The product's own night, trainer and policy servers, in one process: both arms differ in nothing but where tool calls go. */
export interface Stand {
  policyServer: PolicyServer;
  /** Identity of the starting policy. */
  baseDigest: string;
  /** Resolves to the served name of what the night learned; null where it learned nothing. */
  night(order: NightOrder): Promise<string | null>;
  /** Serves an adapter that no night made, in place of the one before it. Resolves to its served name. */
  serve(name: string, directory: string): Promise<string>;
  close(): Promise<void>;
}

export async function openStand(options: {
  agent: string;
  config: AgentConfig;
  directory: string;
  python: string;
  servers: number;
}): Promise<Stand> {
  const { agent, config, directory, python } = options;
  const log = createLog({ level: "warn", process: "bench" });
  const database = await createPglite({ dir: null, log });
  await database.migrate();
  const servers = await Promise.all(Array.from({ length: options.servers }, () => startServer(options, log)));
  const replicas = servers.map(({ client }) => client);
  const policyServer = spreadCalls(() => replicas);
  const baseDigest = await baseModelDigest(agent, config, join(directory, "base-digests.json"));
  const artifacts = createFileArtifactStore({ dir: join(directory, "artifacts") });
  const now = (): number => Date.now();
  const runs = createRunStore(database, now);
  const shared = {
    database,
    artifacts,
    runs,
    log,
    now,
    monotonicMs: () => performance.now(),
    key: loadSigningKey(join(directory, "keys")),
  };
  let served: string | null = null;
  const serve = async (name: string, path: string): Promise<string> => {
    for (const replica of replicas) {
      const loaded = await replica.loadAdapter({ name, path });
      if (loaded.status !== "loaded" && loaded.status !== "already_loaded") throw loaded.error;
      // One after the other is rolled out with and measured; servers have few places.
      if (served !== null) await replica.unloadAdapter(served);
    }
    served = name;
    return name;
  };
  const ensureServed = async ({ name }: { name: string }): Promise<void> => {
    if (served === name) return;
    const found = await artifacts.checkout(adapterArtifact(name));
    if (found === null) throw new Error(`adapter ${name} is not in the artifact store`);
    await serve(name, found.directory);
  };
  return {
    policyServer,
    baseDigest,
    serve,
    async night({ runId, config: night, trajectories, openTools }) {
      await runs.create({ id: runId, tenant: night.tenant, agent, plan: {}, nowMs: now() });
      const judge = night.judge?.driver === "scripted" ? createScriptedJudge(await loadScriptedModule(night.judge.module)) : null;
      if (judge === null) throw new Error("the bench is judged by a script");
      const deps: NightDeps = {
        ...{
          ...shared,
          judge,
          judgeDeviation: () => Promise.resolve(null),
          rewardCheck: null,
          agentDriver: null,
          jobRunner: createLocalJobRunner({ python, trainerDirectory: trainerDirectory() }, { log }),
        },
        recordings: ({ nowMs }) => Promise.resolve(createRecordings({ trajectories, feedback: [], config: night, nowMs })),
        fleet: {
          ...{ policyServer, baseDigest, ensureServed, release: () => undefined },
          stable: () => Promise.resolve({ name: night.model, digest: baseDigest, adapter: null }),
        },
        ...(openTools === undefined ? {} : { openTools }),
      };
      const order = { runId, agent, config: night, runsDirectory: join(directory, "runs"), signal: new AbortController().signal };
      const outcome = await runNight(order, deps);
      await deps.jobRunner.close();
      if (outcome.kind === "failed") throw new Error(`night ${runId}: ${outcome.message}`);
      if (outcome.kind !== "candidate") return null;
      await ensureServed({ name: outcome.adapterName });
      return outcome.adapterName;
    },
    async close() {
      await Promise.all(servers.map(({ close }) => close()));
      await database.close();
    },
  };
}

async function startServer({ config, python }: { config: AgentConfig; python: string }, log: Logger) {
  const shared = { python, trainerDirectory: trainerDirectory(), model: config.baseModel, servedModelName: config.model, port: 0 };
  const server = await startEmbeddedServer(shared, { log });
  const client = createVllm({ url: server.url, timeoutMs: 120_000, connections: 256 });
  return {
    client,
    close: async () => {
      await client.close();
      await server.close();
    },
  };
}

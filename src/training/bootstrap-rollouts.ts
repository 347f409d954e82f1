import { createLimiter } from "../limiter.ts";
import type { CallBudget } from "../rollout/live/call-budget.ts";
import type { LiveWorld } from "../rollout/live/live-world.ts";
import { rolloutPatiently } from "../rollout/patience.ts";
import type { Recordings } from "../rollout/recordings.ts";
import { rankOf } from "../scenario/rank.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { Database } from "../store/database.ts";
import { loadGroups, type IterationDeps, type StoredGroup } from "./iteration.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { judgeGroups } from "./night-rollouts.ts";
import { loadScenarios } from "./run-scenarios.ts";
import type { Policy } from "./night-start.ts";
import { scenarioHistory } from "./scenario-history.ts";

interface At {
  world: LiveWorld;
  iteration: number;
  policy: Policy;
  recordings: Recordings;
  budget: CallBudget;
  /** Of the tasks that may train. */
  scenarioIds: readonly string[];
  startedAtMs: number;
}

/** Calls that a run's stored groups made of the sandbox: what a process that goes on with it has not got left. */
export async function callsOfRun(database: Database, runId: string): Promise<number> {
  const groups = await loadGroups(database, runId);
  return groups.reduce((sum, { summary }) => sum + (summary.callsByRung["R6"] ?? 0), 0);
}

/**
 * One iteration's groups in the sandbox, judged. Durable steps `scenarios-k` and `groups-k`, and every group by itself. Once the budget is spent no more groups are begun; those that there are count.
 */
export async function rollOutLive(options: NightOptions, deps: NightDeps, at: At): Promise<StoredGroup[]> {
  const { runId, config } = options;
  const { iteration, budget } = at;
  const { scenarioIds } = await deps.runs.step(runId, `scenarios-${iteration}`, async () => {
    const all = await loadScenarios(deps.database, runId, at.scenarioIds);
    const ranked = await inRankOrder(all, options, deps, at);
    return { scenarioIds: ranked.slice(0, config.night.scenarios).map(({ id }) => id) };
  });
  const scenarios = await loadScenarios(deps.database, runId, scenarioIds);
  const play = player(options, deps, at);
  const rollOut: IterationDeps["rollOut"] = (scenario) => (budget.spent() === null ? play(scenario) : Promise.resolve(null));
  return judgeGroups(options, deps, { iteration, scenarios, recordedOf: () => null, rollOut });
}

/** Tasks whose members differed before come first, those that all did alike last: as a night ranks conversations. */
async function inRankOrder(
  all: readonly Scenario[],
  { agent, config }: NightOptions,
  deps: NightDeps,
  at: At,
): Promise<readonly Scenario[]> {
  const history = await scenarioHistory(deps.database, agent);
  const seed = config.night.seed + at.iteration;
  const ranks = new Map(
    all.map(({ id, cluster }) => {
      const { rank } = rankOf({ signals: [], endedAtMs: at.startedAtMs, scenarioId: id, cluster, history, nowMs: at.startedAtMs, seed });
      return [id, rank];
    }),
  );
  return all.toSorted((a, b) => (ranks.get(b.id) ?? 0) - (ranks.get(a.id) ?? 0) || (a.id < b.id ? -1 : 1));
}

function player(
  { runId, config, signal }: NightOptions,
  deps: NightDeps,
  { world, iteration, policy, recordings, budget }: At,
): (scenario: Scenario) => ReturnType<typeof rolloutPatiently> {
  const limiter = createLimiter(config.replay.concurrency);
  return (scenario) =>
    rolloutPatiently(
      {
        scenario,
        cascade: recordings.cascade("train"),
        policyServer: deps.fleet.policyServer,
        ...{ model: policy.name, adapterDigest: policy.digest },
        ...{ runId, iteration, runSeed: config.night.seed, groupSize: config.night.groupSize },
        sampling: { temperature: 1, topP: 1, maxTokens: config.sampling.maxTokens },
        limits: config.replay,
        limiter,
        openTools: (member) => world.open(member, budget),
        live: world.isolation,
        signal,
      },
      { ...deps, isOpen: () => budget.spent() === null },
    );
}

import { hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { AgentConfig } from "../config.ts";
import { createLimiter } from "../limiter.ts";
import type { Trust } from "../rollout/cascade/trust.ts";
import { rolloutPatiently } from "../rollout/patience.ts";
import type { Recordings } from "../rollout/recordings.ts";
import type { Scenario } from "../scenario/scenario.ts";
import { selectScenarios } from "../scenario/select.ts";
import type { Database } from "../store/database.ts";
import { anyErased, holdErasures } from "../store/erased-sources.ts";
import { storableJson } from "../store/storable.ts";
import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import type { Recorded } from "./group-summary.ts";
import { loadGroups, runIteration, type StoredGroup } from "./iteration.ts";
import { dropNoise, judgeNoise } from "./judge-noise.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { wholeNight, type Policy } from "./night-start.ts";
import { recordedConversations } from "./recorded.ts";
import { scenarioHistory } from "./scenario-history.ts";

/** One iteration's groups, judged. Durable steps `scenarios-k` and `groups-k`, and every group by itself. */
export async function rollOutAndJudge(
  options: NightOptions,
  deps: NightDeps,
  at: { iteration: number; policy: Policy; recordings: Recordings; trust: Trust; startedAtMs: number },
): Promise<StoredGroup[]> {
  const { runId, config, signal } = options;
  const { iteration, policy, recordings, trust } = at;
  const { scenarioIds } = await deps.runs.step(runId, `scenarios-${iteration}`, async () => {
    const chosen = await chooseScenarios(options, deps, at);
    await saveScenarios(deps, runId, chosen);
    return { scenarioIds: chosen.map(({ id }) => id) };
  });
  const scenarios = await loadScenarios(deps.database, runId, scenarioIds);
  await deps.runs.step(runId, `groups-${iteration}`, async () => {
    const limiter = createLimiter(config.replay.concurrency);
    const judging = { ...deps, sleep: pause, recordedOf: recordedOf(scenarios, recordings, config) };
    const known = iteration === 1 ? null : await judgeNoise(options, judging, judging);
    const judgeDeviation = known?.deviation ?? config.night.judgeDeviation;
    await runIteration(
      { runId, iteration, scenarios, config, judgeDeviation, signal },
      {
        ...judging,
        rollOut: (scenario) =>
          rolloutPatiently(
            {
              scenario,
              cascade: recordings.cascade("train", trust),
              policyServer: deps.fleet.policyServer,
              model: policy.name,
              adapterDigest: policy.digest,
              runId,
              groupSize: config.night.groupSize,
              runSeed: config.night.seed,
              iteration,
              sampling: { temperature: 1, topP: 1, maxTokens: config.sampling.maxTokens },
              limits: config.replay,
              limiter,
              offTape: deps.offTape,
              signal,
              ...(deps.openTools === undefined ? {} : { openTools: deps.openTools }),
            },
            deps,
          ),
      },
    );
    const { deviation } = known ?? (await judgeNoise(options, judging, judging));
    await dropNoise(deps.database, { runId, iteration }, { minSpread: config.night.minSpread, judgeDeviation: deviation });
    const tallied = tally(await loadGroups(deps.database, runId, iteration));
    countGroups(options.agent, tallied.verdicts);
    return tallied;
  });
  return loadGroups(deps.database, runId, iteration);
}

const pause = (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal });

/** By a group, which names its scenario only. Nothing is looked up where nothing is to be compared with it. */
function recordedOf(
  scenarios: readonly Scenario[],
  recordings: Recordings,
  { judge, reward }: AgentConfig,
): (group: { scenarioId: string }) => Recorded | null {
  if (judge?.anchor !== true && reward.feedback === undefined) return () => null;
  const byScenario = new Map(scenarios.map((scenario) => [scenario.id, scenario]));
  const recorded = recordedConversations(recordings, reward.feedback);
  return ({ scenarioId }) => {
    const scenario = byScenario.get(scenarioId);
    return scenario === undefined ? null : recorded(scenario);
  };
}

function countGroups(agent: string, verdicts: Readonly<Record<string, number>>): void {
  const judged = createCounter(METRIC.judgedGroups);
  for (const [verdict, groups] of Object.entries(verdicts)) judged.add(groups, { "nightshift.agent": agent, "nightshift.reason": verdict });
}

/**
 * Each iteration looks again: what had no signal before tonight, or an iteration ago, comes last. Half are the most promising; the other half is a random
 * draw from the rest, because a night on failures alone unlearns what was right: a slice nobody rolls out is a slice nobody corrects.
 */
async function chooseScenarios(
  options: NightOptions,
  deps: NightDeps,
  at: { iteration: number; recordings: Recordings; startedAtMs: number },
): Promise<readonly Scenario[]> {
  const { night } = options.config;
  const history = await scenarioHistory(deps.database, options.agent);
  const seed = night.seed + at.iteration;
  const everything = { ...wholeNight(night), heldOutCount: 0, seed, history };
  const ranked = selectScenarios({ ...at.recordings.selection, ...everything }).train;
  const promising = ranked.slice(0, Math.ceil(night.scenarios / 2));
  const place = ({ id }: Scenario): string => hash("sha256", `mix|${seed}|${id}`);
  const others = ranked.slice(promising.length).toSorted((a, b) => (place(a) < place(b) ? -1 : 1));
  return [...promising, ...others.slice(0, night.scenarios - promising.length)];
}

/** Keeps a run's scenarios. Those of somebody who was erased since they were chosen are left out. */
export async function saveScenarios(
  { database, log }: Pick<NightDeps, "database" | "log">,
  runId: string,
  scenarios: readonly Scenario[],
): Promise<void> {
  await database.transaction(
    async (trx) => {
      await holdErasures(trx);
      for (const scenario of scenarios) {
        if (await anyErased(trx, [scenario.id, scenario.trajectoryId])) {
          log.info({ scenario_id: scenario.id, run_id: runId }, "scenario left out: its subject was erased");
          continue;
        }
        await trx
          .insertInto("scenarios")
          .values({ run_id: runId, id: scenario.id, split: scenario.split, body: storableJson(scenario) })
          .onConflict((conflict) => conflict.columns(["run_id", "id"]).doNothing())
          .execute();
      }
    },
    { isolation: "read committed" },
  );
}

/** In the order asked for; those that were erased since are left out. */
async function loadScenarios(database: Database, runId: string, ids: readonly string[]): Promise<Scenario[]> {
  if (ids.length === 0) return [];
  const rows = await database.kysely
    .selectFrom("scenarios")
    .select(["id", "body"])
    .where("run_id", "=", runId)
    .where("id", "in", ids)
    .execute();
  const bodies = new Map(rows.map((row) => [row.id, row.body as unknown as Scenario]));
  return ids.flatMap((id) => bodies.get(id) ?? []);
}

function tally(groups: readonly StoredGroup[]): {
  groups: number;
  kept: number;
  verdicts: Record<string, number>;
  meanReward: number | null;
} {
  const verdicts: Record<string, number> = {};
  for (const { summary } of groups) verdicts[summary.verdict] = (verdicts[summary.verdict] ?? 0) + 1;
  const means = groups.map((group) => group.summary.mean).filter((mean) => mean !== null);
  const meanReward = means.length === 0 ? null : means.reduce((sum, mean) => sum + mean, 0) / means.length;
  return { groups: groups.length, kept: verdicts["kept"] ?? 0, verdicts, meanReward };
}

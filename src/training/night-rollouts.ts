import { hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createLimiter } from "../limiter.ts";
import { rolloutPatiently } from "../rollout/patience.ts";
import type { Recordings } from "../rollout/recordings.ts";
import { withModes } from "../scenario/mode.ts";
import { pivotsOf } from "../scenario/pivots.ts";
import type { GroupHistory } from "../scenario/rank.ts";
import type { Scenario } from "../scenario/scenario.ts";
import { selectScenarios } from "../scenario/select.ts";
import type { Database } from "../store/database.ts";
import { anyErased, holdErasures } from "../store/erased-sources.ts";
import { storableJson } from "../store/storable.ts";
import { wholeScenarioOf } from "../trajectory/record-tape.ts";
import { loadGroups, runIteration, type StoredGroup } from "./iteration.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { wholeNight, type Policy } from "./night-start.ts";
import { modeInput } from "./mode-input.ts";
import { scenarioHistory } from "./scenario-history.ts";

/** One iteration's groups, judged. Durable steps `scenarios-k` and `groups-k`, and every group by itself. */
export async function rollOutAndJudge(
  options: NightOptions,
  deps: NightDeps,
  at: { iteration: number; policy: Policy; recordings: Recordings; startedAtMs: number },
): Promise<StoredGroup[]> {
  const { runId, config, signal } = options;
  const { iteration, policy, recordings } = at;
  const { scenarioIds } = await deps.runs.step(runId, `scenarios-${iteration}`, async () => {
    const chosen = await chooseScenarios(options, deps, at);
    await saveScenarios(deps, runId, chosen);
    return { scenarioIds: chosen.map(({ id }) => id) };
  });
  const scenarios = await loadScenarios(deps.database, runId, scenarioIds);
  await deps.runs.step(runId, `groups-${iteration}`, async () => {
    const limiter = createLimiter(config.replay.concurrency);
    await runIteration(
      { runId, iteration, scenarios, config, signal },
      {
        ...deps,
        sleep: (ms, aborted) => sleep(ms, undefined, { signal: aborted }),
        rollOut: (scenario) =>
          rolloutPatiently(
            {
              scenario,
              cascade: recordings.cascade("train"),
              policyServer: deps.fleet.policyServer,
              model: policy.name,
              adapterDigest: policy.digest,
              runId,
              groupSize: config.night.groupSize,
              runSeed: config.night.seed,
              iteration,
              sampling: { temperature: 1, topP: 1, maxTokens: config.sampling.maxTokens },
              limits: config.replay,
              agentDriver: deps.agentDriver,
              limiter,
              signal,
            },
            deps,
          ),
      },
    );
    return tally(await loadGroups(deps.database, runId, iteration));
  });
  return loadGroups(deps.database, runId, iteration);
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
  const chosen = [...promising, ...others.slice(0, night.scenarios - promising.length)];
  return playable(chosen, { ...at, history, seed }, options, deps);
}

/** Every scenario in its mode; one that is played step by step becomes its pivots. */
function playable(
  chosen: readonly Scenario[],
  { recordings, history, seed }: { recordings: Recordings; history: GroupHistory; seed: number },
  { config }: NightOptions,
  deps: NightDeps,
): readonly Scenario[] {
  const trajectories = new Map(recordings.trajectories.map((trajectory) => [trajectory.id, trajectory]));
  const tapes = new Map(recordings.selection.tapes.map((tape) => [tape.id, tape]));
  return withModes(chosen, modeInput(recordings, config, { hasAgent: deps.agentDriver !== null })).flatMap((scenario) => {
    const messages = trajectories.get(scenario.trajectoryId)?.messages;
    if (scenario.mode !== "step" || messages === undefined) return [scenario];
    const entries = tapes.get(scenario.tapes[0] ?? "")?.entries ?? [];
    return pivotsOf({ scenario, messages, entries, history, count: config.replay.stepsPerConversation, seed });
  });
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
        if (await anyErased(trx, [wholeScenarioOf(scenario.id), scenario.trajectoryId])) {
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
  modes: Record<string, number>;
  meanReward: number | null;
} {
  const verdicts: Record<string, number> = {};
  const modes: Record<string, number> = {};
  for (const { summary } of groups) {
    verdicts[summary.verdict] = (verdicts[summary.verdict] ?? 0) + 1;
    const mode = summary.played?.mode ?? "loop";
    modes[mode] = (modes[mode] ?? 0) + 1;
  }
  const means = groups.map((group) => group.summary.mean).filter((mean) => mean !== null);
  const meanReward = means.length === 0 ? null : means.reduce((sum, mean) => sum + mean, 0) / means.length;
  return { groups: groups.length, kept: verdicts["kept"] ?? 0, verdicts, modes, meanReward };
}

import { hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { ArtifactStore } from "../artifact/artifact-store.ts";
import type { AgentConfig } from "../config.ts";
import { createLimiter } from "../limiter.ts";
import type { Trust } from "../rollout/cascade/trust.ts";
import { rolloutPatiently } from "../rollout/patience.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import type { Rollout, TrajectoryGroup } from "../rollout/group.ts";
import type { Recordings } from "../rollout/recordings.ts";
import { withModes } from "../scenario/mode.ts";
import { pivotsOf } from "../scenario/pivots.ts";
import type { Scenario } from "../scenario/scenario.ts";
import { countSignals, selectScenarios } from "../scenario/select.ts";
import type { Database } from "../store/database.ts";
import { createCounter } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import type { Recorded } from "./group-summary.ts";
import { loadGroups, runIteration, type IterationDeps, type StoredGroup } from "./iteration.ts";
import { dropNoise, judgeNoise } from "./judge-noise.ts";
import { rollOutCuts } from "./night-cuts.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { wholeNight, type Policy } from "./night-start.ts";
import { modeInput } from "./mode-input.ts";
import { recordedConversations } from "./recorded.ts";
import { asProbe, byProbe, PROBE_ITERATION, probeVerdictOf, type Probes, type ProbeVerdict } from "./probe.ts";
import { loadScenarios, saveScenarios } from "./run-scenarios.ts";
import { scenarioHistory } from "./scenario-history.ts";
import { tally } from "./tally.ts";

interface At {
  iteration: number;
  policy: Policy;
  recordings: Recordings;
  trust: Trust;
  startedAtMs: number;
}

/**
 * One iteration's groups, judged, and after them those of single steps where replay ended members of groups that do not train. Durable steps `scenarios-k`, `groups-k`,
 * `cuts-k` and `steps-k`, and every group by itself.
 */
export async function rollOutAndJudge(options: NightOptions, deps: NightDeps, at: At): Promise<StoredGroup[]> {
  const { runId, config } = options;
  const { iteration } = at;
  const { groupSize } = config.night;
  const probed = iteration === 1 ? await probesOf(deps.database, runId) : new Map<string, StoredGroup>();
  const { scenarioIds } = await deps.runs.step(runId, `scenarios-${iteration}`, async () => {
    const probes = new Map([...probed].map(([id, { summary }]) => [id, summary.verdict as ProbeVerdict]));
    const candidates = await candidatesOf(options, deps, { ...at, probes });
    const chosen = await playable(candidates.slice(0, config.night.scenarios), options, deps, at);
    await saveScenarios(deps, runId, chosen);
    return { scenarioIds: chosen.map(({ id }) => id), selectedFor: countSignals(chosen) };
  });
  const scenarios = await loadScenarios(deps.database, runId, scenarioIds);
  const play = player(options, deps, at);
  const rollOut = async (scenario: Scenario) =>
    play(scenario, { groupSize, played: await membersOf(probed.get(scenario.id), deps.artifacts) });
  await judgeGroups(options, deps, { iteration, scenarios, recordedOf: recordedOf(scenarios, at.recordings, config), rollOut });
  await rollOutCuts(options, deps, {
    ...{ iteration, recordings: at.recordings },
    async play(steps) {
      const judging = { ...deps, sleep: pause, recordedOf: recordedOf(steps, at.recordings, config, { always: true }) };
      const { deviation: judgeDeviation } = await judgeNoise(options, judging, judging);
      const rollOutStep = (scenario: Scenario): Promise<TrajectoryGroup> => play(scenario, { groupSize, played: [] });
      const steppedOptions = { runId, iteration, scenarios: steps, config, judgeDeviation, anchored: true, signal: options.signal };
      await runIteration(steppedOptions, { ...judging, rollOut: rollOutStep });
    },
    count: (verdicts) => countGroups(options.agent, verdicts),
  });
  return loadGroups(deps.database, runId, iteration);
}

/** Rolls the scenarios of one iteration out, judges their groups and holds them to the judge's own noise. Durable step `groups-k`, and every group by itself. */
export async function judgeGroups(
  options: NightOptions,
  deps: NightDeps,
  {
    iteration,
    scenarios,
    recordedOf,
    rollOut,
  }: Pick<IterationDeps, "recordedOf" | "rollOut"> & { iteration: number; scenarios: readonly Scenario[] },
): Promise<StoredGroup[]> {
  const { runId, config, signal } = options;
  await deps.runs.step(runId, `groups-${iteration}`, async () => {
    const judging = { ...deps, sleep: pause, recordedOf };
    const known = iteration === 1 ? null : await judgeNoise(options, judging, judging);
    const judgeDeviation = known?.deviation ?? config.night.judgeDeviation;
    await runIteration({ runId, iteration, scenarios, config, judgeDeviation, signal }, { ...judging, rollOut });
    const { deviation } = known ?? (await judgeNoise(options, judging, judging));
    await dropNoise(deps.database, { runId, iteration }, { minSpread: config.night.minSpread, judgeDeviation: deviation });
    const tallied = tally(await loadGroups(deps.database, runId, iteration));
    countGroups(options.agent, tallied.verdicts);
    return tallied;
  });
  return loadGroups(deps.database, runId, iteration);
}

export const pause = (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal });

/** By a group, which names its scenario only. Nothing is looked up where nothing is to be compared with it. */
function recordedOf(
  scenarios: readonly Scenario[],
  recordings: Recordings,
  { judge, reward }: AgentConfig,
  { always }: { always: boolean } = { always: false },
): (group: { scenarioId: string }) => Recorded | null {
  if (!always && judge?.anchor !== true && reward.feedback === undefined) return () => null;
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
 * A small group of each candidate of the first iteration that nobody has rolled out, to see which have mixed outcomes: half have none, and a full group of those teaches nothing. Nothing is
 * probed where there is nothing to choose from. Durable steps `candidates` and `probe`, and every small group by itself; their members are members of the full groups.
 */
export async function probeCandidates(options: NightOptions, deps: NightDeps, at: Omit<At, "iteration">): Promise<void> {
  const { runId, config, signal } = options;
  const { night } = config;
  const { members: groupSize } = night.probe;
  if (groupSize < 2) return;
  const first = { ...at, iteration: 1 };
  const { scenarioIds } = await deps.runs.step(runId, "candidates", async () => {
    const ranked = await candidatesOf(options, deps, { ...first, probes: new Map() });
    const history = await scenarioHistory(deps.database, options.agent);
    const untried = ranked.slice(0, night.probe.scenarios).filter(({ id }) => !history.has(id));
    // One that is played step by step has no small group that its full ones could take over.
    const whole = (await playable(untried, options, deps, first)).filter(({ mode }) => mode !== "step");
    const chosen = ranked.length > night.scenarios ? whole : [];
    await saveScenarios(deps, runId, chosen);
    return { scenarioIds: chosen.map(({ id }) => id) };
  });
  if (scenarioIds.length === 0) return;
  const scenarios = await loadScenarios(deps.database, runId, scenarioIds);
  await deps.runs.step(runId, "probe", async () => {
    const play = player(options, deps, first);
    await runIteration(
      {
        ...{ runId, iteration: PROBE_ITERATION, scenarios, config, groupSize, judgeDeviation: night.judgeDeviation, signal },
        verdict: (summary) => probeVerdictOf(summary, night),
      },
      {
        ...{ ...deps, sleep: pause, recordedOf: recordedOf(scenarios, at.recordings, config) },
        rollOut: async (scenario) => asProbe(await play(scenario, { groupSize, played: [] })),
      },
    );
    return tally(await loadGroups(deps.database, runId, PROBE_ITERATION));
  });
}

/** Rolls scenarios of one iteration out with its policy. */
function player(
  { runId, config, signal }: NightOptions,
  deps: NightDeps,
  { iteration, policy, recordings, trust }: At,
): (scenario: Scenario, of: { groupSize: number; played: readonly Rollout[] }) => Promise<TrajectoryGroup> {
  const limiter = createLimiter(config.replay.concurrency);
  return (scenario, of) =>
    rolloutPatiently(
      {
        scenario,
        cascade: recordings.cascade("train", trust),
        policyServer: deps.fleet.policyServer,
        model: policy.name,
        adapterDigest: policy.digest,
        runId,
        ...of,
        runSeed: config.night.seed,
        iteration,
        sampling: { temperature: 1, topP: 1, maxTokens: config.sampling.maxTokens },
        limits: config.replay,
        limiter,
        offTape: deps.offTape,
        agentDriver: deps.agentDriver,
        signal,
        ...(deps.openTools === undefined ? {} : { openTools: deps.openTools }),
      },
      deps,
    );
}

async function probesOf(database: Database, runId: string): Promise<ReadonlyMap<string, StoredGroup>> {
  return new Map((await loadGroups(database, runId, PROBE_ITERATION)).map((group) => [group.scenarioId, group]));
}

/** The members of a probe. None where the infrastructure masked one, which is played again, or where the probe's object is gone. */
async function membersOf(probe: StoredGroup | undefined, artifacts: ArtifactStore): Promise<readonly Rollout[]> {
  const body = probe === undefined ? null : await artifacts.get(probe.bodyDigest);
  const members = body === null ? [] : decodeGroup(body).members;
  return members.some(({ end }) => end.status === "masked" && end.cause === "infrastructure") ? [] : members;
}

/**
 * Each iteration looks again: what had no signal before tonight, or an iteration ago, comes last. Half are the most promising; the other half is a random
 * draw from the rest, because a night on failures alone unlearns what was right: a slice nobody rolls out is a slice nobody corrects. After those of a night come the others in the order of the draw.
 */
async function candidatesOf(options: NightOptions, deps: NightDeps, at: At & { probes: Probes }): Promise<readonly Scenario[]> {
  const { night } = options.config;
  const history = await scenarioHistory(deps.database, options.agent);
  const seed = night.seed + at.iteration;
  const everything = { ...wholeNight(night), heldOutCount: 0, seed, history };
  const ranked = byProbe(selectScenarios({ ...at.recordings.selection, ...everything }).train, at.probes);
  const promising = ranked.slice(0, Math.ceil(night.scenarios / 2));
  const place = ({ id }: Scenario): string => hash("sha256", `mix|${seed}|${id}`);
  const drawn = ranked
    .slice(promising.length)
    .toSorted((a, b) => (place(a) < place(b) ? -1 : 1))
    .map((scenario) => ({ ...scenario, selectedFor: [...(scenario.selectedFor ?? []), "random" as const] }));
  return [...promising, ...byProbe(drawn, at.probes)];
}

/** Every scenario in its mode; one that is played step by step becomes its pivots. */
async function playable(chosen: readonly Scenario[], options: NightOptions, deps: NightDeps, at: At): Promise<readonly Scenario[]> {
  const { config, agent } = options;
  const { recordings, iteration } = at;
  const history = await scenarioHistory(deps.database, agent);
  const trajectories = new Map(recordings.trajectories.map((trajectory) => [trajectory.id, trajectory]));
  const tapes = new Map(recordings.selection.tapes.map((tape) => [tape.id, tape]));
  return withModes(chosen, modeInput(recordings, config, { hasAgent: deps.agentDriver !== null })).flatMap((scenario) => {
    const messages = trajectories.get(scenario.trajectoryId)?.messages;
    if (scenario.mode !== "step" || messages === undefined) return [scenario];
    const entries = tapes.get(scenario.tapes[0] ?? "")?.entries ?? [];
    const { stepsPerConversation: count } = config.replay;
    return pivotsOf({ scenario, messages, entries, history, count, seed: config.night.seed + iteration });
  });
}

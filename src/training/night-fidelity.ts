import { measuredTrust, UNMEASURED, type Trust } from "../rollout/cascade/trust.ts";
import { clustersOf, measureFidelity, type ToolFidelity } from "../rollout/measure/measure.ts";
import type { Recordings } from "../rollout/recordings.ts";
import { createCounter, createGauge } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { scenarioIdOf } from "../trajectory/record-tape.ts";
import { loadGroups } from "./iteration.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { replayReport, type ReplayAlarm, type ReplayReport } from "./replay-report.ts";
import type { RunStep, RunStore } from "./run-store.ts";

interface Measured {
  tools: ToolFidelity[];
}

/**
 * Measures how often replay is wrong on the run's own tapes, once: what the rollouts of a run trust is pinned with it, so that a restart gives the same
 * bytes. Durable step `fidelity`.
 */
export async function measureReplay(options: NightOptions, deps: NightDeps, recordings: Recordings): Promise<Trust> {
  const { runId, agent, config } = options;
  const { tools } = await deps.runs.step<Measured>(runId, "fidelity", () => {
    const { measuredTapes, maxWrongShare, maxMisjudgedShare } = config.replay;
    const measure = { seed: config.night.seed, maxTapes: measuredTapes, maxWrongShare, maxMisjudgedShare };
    const { pool } = recordings.cascade("train");
    const measured = measuredTapes === 0 ? [] : measureFidelity({ trajectories: recordings.trajectories, pool }, measure);
    const wrongShare = createGauge(METRIC.replayWrongShare);
    for (const [rung, share] of wrongShares(measured)) wrongShare.record(share, { "nightshift.agent": agent, "nightshift.rung": rung });
    for (const { tool, rungs } of measured) {
      for (const { rung, served, wrong } of rungs.filter(({ refused }) => refused)) {
        deps.log.warn({ run_id: runId, tool, rung, served, wrong }, "replay is wrong too often here: tool not answered from this rung");
      }
    }
    return Promise.resolve({ tools: measured });
  });
  return measuredTrust(tools);
}

/** What the run's `fidelity` step measured; unmeasured for runs from before there was one. */
export async function trustOfRun(runs: RunStore, runId: string): Promise<Trust> {
  const measured = measuredOf(await runs.steps(runId));
  return measured === null ? UNMEASURED : measuredTrust(measured);
}

/** What replay came to by the end of an iteration's rollouts. Durable step `replay-k`; its alarms are logged and counted. */
export async function reportReplay(
  options: NightOptions,
  deps: NightDeps,
  at: { iteration: number; recordings: Recordings },
): Promise<ReplayReport> {
  const { runId, agent, config } = options;
  return deps.runs.step(runId, `replay-${at.iteration}`, async () => {
    const groups = (await loadGroups(deps.database, runId)).filter(({ iteration }) => iteration <= at.iteration);
    const trainable = at.recordings.trajectories.filter(({ verdict }) => verdict.trainable);
    const byTrajectory = clustersOf(trainable);
    const clusters = new Map(trainable.map((one) => [scenarioIdOf(one), byTrajectory.get(one.id) ?? ""]));
    const steps = await deps.runs.steps(runId);
    const tools = measuredOf(steps) ?? [];
    const before = replayOfSteps(steps).report?.alarms ?? [];
    const report = replayReport({ groups, tools, clusters, limits: config.replay.alarms });
    const calls = createCounter(METRIC.replayCalls);
    for (const { summary } of groups.filter(({ iteration }) => iteration === at.iteration)) {
      for (const [rung, count] of Object.entries(summary.callsByRung)) {
        calls.add(count, { "nightshift.agent": agent, "nightshift.rung": rung });
      }
    }
    const alarms = createCounter(METRIC.replayAlarms);
    // The report is of the whole run: what an earlier one had was told then.
    const isNew = (one: ReplayAlarm): boolean => !before.some(({ alarm, where }) => alarm === one.alarm && where === one.where);
    for (const { alarm, value, limit, where } of report.alarms.filter(isNew)) {
      alarms.add(1, { "nightshift.agent": agent, "nightshift.reason": alarm });
      deps.log.warn({ alarm, value, limit, where }, "replay alarm");
    }
    return report;
  });
}

/** What a run measured of replay, and its newest report; null where there is none yet. */
export function replayOfSteps(steps: readonly RunStep[]): { tools: ToolFidelity[] | null; report: ReplayReport | null } {
  const reports = steps.filter(({ step, output }) => step.startsWith("replay-") && output !== null);
  return { tools: measuredOf(steps), report: (reports.at(-1)?.output ?? null) as ReplayReport | null };
}

function measuredOf(steps: readonly RunStep[]): ToolFidelity[] | null {
  const step = steps.find(({ step: name }) => name === "fidelity");
  return step?.output == null ? null : (step.output as unknown as Measured).tools;
}

/** Share of wrong answers by rung, over all tools. */
function wrongShares(tools: readonly ToolFidelity[]): Map<string, number> {
  const counts = new Map<string, { served: number; wrong: number }>();
  for (const { rung, served, wrong } of tools.flatMap(({ rungs }) => rungs)) {
    const known = counts.get(rung) ?? { served: 0, wrong: 0 };
    counts.set(rung, { served: known.served + served, wrong: known.wrong + wrong });
  }
  return new Map([...counts].map(([rung, { served, wrong }]) => [rung, wrong / served]));
}

import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { withModes } from "../scenario/mode.ts";
import { selectScenarios } from "../scenario/select.ts";
import { beginOnce, type AskedRun } from "../training/begin-once.ts";
import { estimateNight, type DryRun } from "../training/dry-run.ts";
import { modeInput } from "../training/mode-input.ts";
import type { JudgeIdentity } from "../reward/calibration/identity.ts";
import { judgeStanding } from "../reward/calibration/standing.ts";
import { planJudge } from "../training/judge-trust.ts";
import type { NightDeps } from "../training/night-context.ts";
import { wholeNight } from "../training/night-start.ts";
import { planNight } from "../training/planned-night.ts";

export interface StartOptions {
  /** Who wants it although the judge agrees too little with people; null where nobody does. */
  force: string | null;
  /** Of several that are asked for under one key the first one begins; null: each does. */
  key: string | null;
}

/** Where nights of one agent are asked for, on any replica of the control service: a run is a row, and the leader carries out rows. */
export interface NightDesk {
  /** Registers a run. @throws NightshiftError `run_in_progress`, `run_refused`, `judge_below_agreement`, and what `requireSlot` throws */
  start(options: StartOptions): Promise<AskedRun>;
  dryRun(): Promise<DryRun>;
}

export function createNightDesk(
  { agent, config, identity }: { agent: string; config: AgentConfig; identity: JudgeIdentity | null },
  deps: Pick<NightDeps, "database" | "runs" | "recordings" | "now"> & {
    /** Looked at before a run begins. */
    requireSlot: () => Promise<void>;
  },
): NightDesk {
  const hasKnownNoise = async (): Promise<boolean> => {
    const minAgreement = config.judge?.minAgreement ?? 0;
    const standing = await judgeStanding(deps.database, { tenant: config.tenant, agent, identity, minAgreement });
    return standing.status !== "uncalibrated" && standing.calibration.report.repeatDeviation !== null;
  };
  return {
    start({ force, key }) {
      const { tenant } = config;
      const begin = async (id: string): Promise<void> => {
        await deps.requireSlot();
        requireJudges(agent, config);
        const judge = await planJudge(agent, config, { identity, force }, deps.database);
        const plan = { ...planNight(config), judge };
        await deps.runs.create({ id, tenant, agent, plan, nowMs: deps.now() });
      };
      return beginOnce({ tenant, agent, key }, begin, deps);
    },

    async dryRun() {
      const recordings = await deps.recordings({ nowMs: deps.now() });
      const { night } = config;
      const wanted = { ...wholeNight(night), count: night.scenarios, heldOutCount: config.gate.maxScenarios, seed: night.seed + 1 };
      const { train, heldOut, funnel } = selectScenarios({ ...recordings.selection, ...wanted });
      const hasAgent = config.replay.agent !== undefined;
      const scenarios = withModes(train, modeInput(recordings, config, { hasAgent }));
      const modes: Record<string, number> = {};
      for (const { mode, modeReason } of scenarios) {
        const key = `${mode} (${modeReason})`;
        modes[key] = (modes[key] ?? 0) + 1;
      }
      const candidates = train.length + (funnel.leftOut.enough ?? 0);
      const { trajectories, selection } = recordings;
      const isCalibrated = await hasKnownNoise();
      return {
        agent,
        conversations: trajectories.length,
        trainScenarios: train.length,
        heldOutScenarios: heldOut.length,
        leftOut: { ...funnel.leftOut },
        modes,
        iterations: night.iterations,
        ...estimateNight({ scenarios, candidates, trajectories, tapes: selection.tapes, isCalibrated }, config),
      };
    },
  };
}

/** @throws NightshiftError `run_refused` */
export function requireJudges(agent: string, config: AgentConfig): void {
  for (const key of config.gate.enabled ? (["judge", "pairJudge"] as const) : (["judge"] as const)) {
    if (config[key] === undefined) throw nightshiftError("run_refused", { agent, problem: `agents.${agent}.${key} is not configured` });
  }
}

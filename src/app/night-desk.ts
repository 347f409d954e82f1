import { randomUUID } from "node:crypto";
import type { AgentConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { withModes } from "../scenario/mode.ts";
import { selectScenarios } from "../scenario/select.ts";
import type { DryRun } from "../training/dry-run.ts";
import { modeInput } from "../training/mode-input.ts";
import type { JudgeIdentity } from "../reward/calibration/identity.ts";
import { planJudge } from "../training/judge-trust.ts";
import type { NightDeps } from "../training/night-context.ts";
import { wholeNight } from "../training/night-start.ts";

export interface StartOptions {
  /** Who wants it although the judge agrees too little with people; null where nobody does. */
  force: string | null;
}

/** Where nights of one agent are asked for, on any replica of the control service: a run is a row, and the leader carries out rows. */
export interface NightDesk {
  /** Registers a run. @throws NightshiftError `run_in_progress`, `run_refused`, `judge_below_agreement` */
  start(options: StartOptions): Promise<{ runId: string }>;
  dryRun(): Promise<DryRun>;
}

export function createNightDesk(
  { agent, config, identity }: { agent: string; config: AgentConfig; identity: JudgeIdentity | null },
  deps: Pick<NightDeps, "database" | "runs" | "recordings" | "now">,
): NightDesk {
  return {
    async start({ force }) {
      requireJudges(agent, config);
      const runId = randomUUID();
      const judge = await planJudge(agent, config, { identity, force }, deps.database);
      const plan = { iterations: config.night.iterations, scenarios: config.night.scenarios, seed: config.night.seed, judge };
      await deps.runs.create({ id: runId, tenant: config.tenant, agent, plan, nowMs: deps.now() });
      return { runId };
    },

    async dryRun() {
      const recordings = await deps.recordings({ nowMs: deps.now() });
      const { night } = config;
      const wanted = { ...wholeNight(night), count: night.scenarios, heldOutCount: config.gate.maxScenarios, seed: night.seed + 1 };
      const { train, heldOut, funnel } = selectScenarios({ ...recordings.selection, ...wanted });
      const modes: Record<string, number> = {};
      const hasAgent = config.replay.agent !== undefined;
      for (const { mode, modeReason } of withModes(train, modeInput(recordings, config, { hasAgent }))) {
        const key = `${mode} (${modeReason})`;
        modes[key] = (modes[key] ?? 0) + 1;
      }
      const { probe } = night;
      // Only where there are more to choose from than a night takes; most of what is probed is rolled out anyway.
      const isProbed = probe.members >= 2 && (funnel.leftOut.enough ?? 0) > 0;
      const probed = isProbed ? Math.min(probe.scenarios, train.length + (funnel.leftOut.enough ?? 0)) : 0;
      const rollouts = train.length * night.groupSize * night.iterations + probed * probe.members;
      return {
        agent,
        conversations: recordings.trajectories.length,
        trainScenarios: train.length,
        heldOutScenarios: heldOut.length,
        leftOut: { ...funnel.leftOut },
        modes,
        iterations: night.iterations,
        rollouts,
        maxModelCalls: rollouts * config.replay.maxCalls,
        judgeCalls: train.length * night.iterations + probed,
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

import type { AgentConfig } from "../config.ts";
import { pivotsOf } from "../scenario/pivots.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { Tape } from "../trajectory/tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import { makesCuts } from "./night-cuts.ts";

/** What a night would do, without doing it. */
export interface DryRun extends NightEstimate {
  agent: string;
  conversations: number;
  trainScenarios: number;
  heldOutScenarios: number;
  leftOut: Record<string, number>;
  /** How many of the training scenarios would be played how, as `mode (reason)`. */
  modes: Record<string, number>;
  iterations: number;
}

/** What a night would ask of policy servers and judges. */
export interface NightEstimate {
  /** Single model calls that scenarios of mode `step` come to in one iteration: each is a group of its own. */
  pivots: number;
  /** Groups of one iteration. */
  groups: number;
  /** Rollouts, and at most model calls. */
  rollouts: number;
  maxModelCalls: number;
  /** Groups that judges would score, by why: those of the iterations, of the probe, of the judge's noise and of the audit. */
  judgings: { groups: number; probes: number; noise: number; audit: number };
  /** Groups of single steps that there may be beside them, where replay cuts groups: at most. Only the maxima have them. */
  maxCutSteps: number;
  /** Their sum; and the most questions that it may take, where every group has attempts that a second order must tell apart. */
  judgeCalls: number;
  maxJudgeCalls: number;
}

/** A judge of RULER asks a second time on near-ties; a scripted one never does. */
const MOST_PASSES = 2;

/**
 * What a night over these scenarios takes: every iteration plays as many, one that is played step by step as its pivots, each one model call a member. Pure.
 * @param input `candidates` is how many scenarios a probe may choose from; `isCalibrated`, whether the judge's noise is known already.
 */
export function estimateNight(
  input: {
    scenarios: readonly Scenario[];
    candidates: number;
    trajectories: readonly Trajectory[];
    tapes: readonly Tape[];
    isCalibrated: boolean;
  },
  config: Pick<AgentConfig, "night" | "replay" | "judge" | "reward">,
): NightEstimate {
  const { night, replay, judge } = config;
  const whole = input.scenarios.filter(({ mode }) => mode !== "step").length;
  const pivots = countPivots(input, config);
  const groups = whole + pivots;
  // Only where there are more to choose from than a night takes; most of what is probed is rolled out anyway.
  const isProbed = night.probe.members >= 2 && input.candidates > night.scenarios;
  const probes = isProbed ? Math.min(night.probe.scenarios, input.candidates) : 0;
  const wholeRollouts = whole * night.groupSize * night.iterations + probes * night.probe.members;
  const singleCalls = pivots * night.groupSize * night.iterations;
  const rejudged = judge?.driver === "ruler" && !input.isCalibrated ? judge.rejudgeGroups : 0;
  const judgings = {
    groups: groups * night.iterations,
    probes,
    noise: night.iterations > 0 ? Math.min(rejudged, groups) : 0,
    audit: Math.min(judge?.audit?.groups ?? 0, groups * night.iterations),
  };
  const byJudge = judgings.groups + judgings.probes + judgings.noise;
  const passes = (driver: string | undefined): number => (driver === "ruler" ? MOST_PASSES : 1);
  const maxCutSteps = makesCuts(config) ? whole * replay.stepsPerConversation * night.iterations : 0;
  return {
    ...{ pivots, groups, judgings, maxCutSteps },
    rollouts: wholeRollouts + singleCalls,
    maxModelCalls: wholeRollouts * replay.maxCalls + singleCalls + maxCutSteps * night.groupSize,
    judgeCalls: byJudge + judgings.audit,
    maxJudgeCalls: (byJudge + maxCutSteps) * passes(judge?.driver) + judgings.audit * passes(judge?.audit?.driver),
  };
}

function countPivots(
  { scenarios, trajectories, tapes }: { scenarios: readonly Scenario[]; trajectories: readonly Trajectory[]; tapes: readonly Tape[] },
  { night, replay }: Pick<AgentConfig, "night" | "replay">,
): number {
  const messagesOf = new Map(trajectories.map(({ id, messages }) => [id, messages]));
  const entriesOf = new Map(tapes.map(({ id, entries }) => [id, entries]));
  return scenarios
    .filter(({ mode }) => mode === "step")
    .map((scenario) => {
      const messages = messagesOf.get(scenario.trajectoryId);
      // As a night has it: what cannot be taken apart is played as it is.
      if (messages === undefined) return 1;
      const entries = entriesOf.get(scenario.tapes[0] ?? "") ?? [];
      return pivotsOf({ scenario, messages, entries, history: new Map(), count: replay.stepsPerConversation, seed: night.seed }).length;
    })
    .reduce((sum, count) => sum + count, 0);
}

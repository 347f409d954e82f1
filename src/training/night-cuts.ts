import type { AgentConfig } from "../config.ts";
import type { Message } from "../trace/message.ts";
import type { NoSignalReason } from "../reward/signal.ts";
import { cutPointOf, type NoCut } from "../rollout/cut-point.ts";
import { decodeGroup } from "../rollout/encode-group.ts";
import type { TrajectoryGroup } from "../rollout/group.ts";
import type { Recordings } from "../rollout/recordings.ts";
import { pivotAt } from "../scenario/pivots.ts";
import type { Scenario } from "../scenario/scenario.ts";
import { loadGroups, type StoredGroup } from "./iteration.ts";
import type { NightDeps, NightOptions } from "./night-context.ts";
import { loadScenarios, saveScenarios } from "./run-scenarios.ts";
import { tally } from "./tally.ts";

/** Why a member that replay ended, or its group, gave no step. */
export type NoStep =
  | NoCut
  /** Its group has too few honest beginnings, or is gone. */
  | "group_dropped"
  /** Nothing was recorded where replay stopped. */
  | "no_continuation"
  /** More calls of one conversation than `replay.stepsPerConversation`. */
  | "over_budget";

/** What the groups of an iteration that replay cut came to. */
interface Cuts {
  /** Pivots, each a scenario of the run. */
  scenarioIds: string[];
  /** Groups that do not train, have members that replay ended and are worth a step, by why they do not train. */
  groups: Partial<Record<Reason, number>>;
  /** Of their ended members, those that a step was made for, and the others by why not. */
  members: number;
  notMade: Partial<Record<NoStep, number>>;
}

type Reason = NonNullable<Scenario["cutFrom"]>["reason"];

interface CutDeps {
  iteration: number;
  recordings: Recordings;
  /** Rolls the steps out and has them judged beside what was recorded. */
  play: (steps: readonly Scenario[]) => Promise<void>;
  count: (verdicts: Readonly<Record<string, number>>) => void;
}

/** Whether groups that replay cut become single steps. A script that looks at how a conversation ends cannot tell steps apart. Pure. */
export function makesCuts({ replay, judge, reward }: Pick<AgentConfig, "replay" | "judge" | "reward">): boolean {
  return replay.cutSteps ?? (judge?.driver === "ruler" && reward.check === undefined);
}

/**
 * Single steps where replay had no answer: a group whose members it ended, and that does not train, becomes groups of the next action at its members' last honest prefixes.
 * Only where the prefix is the recording's, because its next action is then held against what was done in production; at most `replay.stepsPerConversation` of a
 * group, where most members ended first. Durable steps `cuts-k` and, where there are any, `steps-k`.
 */
export async function rollOutCuts(options: NightOptions, deps: NightDeps, at: CutDeps): Promise<void> {
  const { runId, config } = options;
  if (!makesCuts(config)) return;
  const { iteration } = at;
  const { scenarioIds } = await deps.runs.step<Cuts>(runId, `cuts-${iteration}`, async () => {
    const stored = await loadGroups(deps.database, runId, iteration);
    const { steps, cuts } = await stepsOf(stored.filter(isCut), options, deps, at.recordings);
    await saveScenarios(deps, runId, steps);
    return cuts;
  });
  if (scenarioIds.length === 0) return;
  const steps = await loadScenarios(deps.database, runId, scenarioIds);
  await deps.runs.step(runId, `steps-${iteration}`, async () => {
    await at.play(steps);
    const ids = new Set(scenarioIds);
    const tallied = tally((await loadGroups(deps.database, runId, iteration)).filter(({ scenarioId }) => ids.has(scenarioId)));
    at.count(tallied.verdicts);
    return tallied;
  });
}

/** What says that a group teaches nothing as it is. A judge that was away says nothing, and would be away for the steps too. */
const TEACHES_NOTHING: ReadonlySet<string> = new Set([
  ...["replay_step_only", "replay_dropped", "identical_members"],
  ...(["too_few_members", "equal_rewards", "spread_below_noise", "simulator_correlated_reward"] satisfies NoSignalReason[]),
]);

/** A group of whole conversations that does not train, with members that replay ended. */
function isCut({ summary: { verdict, masked, played } }: StoredGroup): boolean {
  return TEACHES_NOTHING.has(verdict) && played?.mode !== "step" && (masked["replay_miss"] ?? 0) + (masked["simulated_share"] ?? 0) > 0;
}

async function stepsOf(
  groups: readonly StoredGroup[],
  options: NightOptions,
  deps: NightDeps,
  { trajectories }: Recordings,
): Promise<{ steps: Scenario[]; cuts: Cuts }> {
  const scenarios = await loadScenarios(
    deps.database,
    options.runId,
    groups.map(({ scenarioId }) => scenarioId),
  );
  const byId = new Map(scenarios.map((scenario) => [scenario.id, scenario]));
  const recorded = new Map(trajectories.map(({ id, version, messages }) => [`${id}@${version}`, messages]));
  const cuts: Cuts = { scenarioIds: [], groups: {}, members: 0, notMade: {} };
  const steps: Scenario[] = [];
  for (const stored of groups) {
    const body = await deps.artifacts.get(stored.bodyDigest, { signal: options.signal });
    const scenario = byId.get(stored.scenarioId);
    const messages = scenario === undefined ? undefined : recorded.get(`${scenario.trajectoryId}@${scenario.trajectoryVersion}`);
    // Erased since: whoever is gone is in no step either.
    if (body === null || scenario === undefined || messages === undefined) continue;
    const group = decodeGroup(body);
    const reason: Reason = group.fidelity.decision === "step-only" ? "step_only" : "no_signal";
    if (group.fidelity.decision !== "drop") cuts.groups[reason] = (cuts.groups[reason] ?? 0) + 1;
    const made = stepsOfGroup(group, { scenario, messages, reason, count: options.config.replay.stepsPerConversation });
    steps.push(...made.steps);
    cuts.members += made.steps.reduce((sum, { cutFrom }) => sum + (cutFrom?.members ?? 0), 0);
    for (const [why, count] of made.notMade) cuts.notMade[why] = (cuts.notMade[why] ?? 0) + count;
  }
  return { steps, cuts: { ...cuts, scenarioIds: steps.map(({ id }) => id) } };
}

/** The steps of one group, in the order of the conversation, and the members that none was made for, by why. Pure. */
export function stepsOfGroup(
  group: TrajectoryGroup,
  from: { scenario: Scenario; messages: readonly Message[]; reason: Reason; count: number },
): { steps: Scenario[]; notMade: Map<NoStep, number> } {
  const { scenario, messages, reason, count } = from;
  const notMade = new Map<NoStep, number>();
  const leave = (why: NoStep, members = 1): void => void notMade.set(why, (notMade.get(why) ?? 0) + members);
  const ended = new Map<number, number>();
  for (const member of group.members) {
    const point = cutPointOf(messages, member);
    if (point.status === "found" && group.fidelity.decision !== "drop") ended.set(point.call, (ended.get(point.call) ?? 0) + 1);
    else if (point.status === "found") leave("group_dropped");
    else if (point.reason !== "not_cut") leave(point.reason);
  }
  const found = [...ended].flatMap(([call, members]) => {
    const pivot = pivotAt(scenario, messages, call);
    if (pivot === null) leave("no_continuation", members);
    return pivot === null ? [] : [{ call, members, pivot }];
  });
  const ranked = found.toSorted((a, b) => b.members - a.members || a.call - b.call);
  for (const { members } of ranked.slice(count)) leave("over_budget", members);
  const steps = ranked
    .slice(0, count)
    .toSorted((a, b) => a.call - b.call)
    .map(({ members, pivot }): Scenario => ({
      ...pivot,
      mode: "step",
      modeReason: "replay_cut",
      cutFrom: { group: group.groupId, reason, members },
    }));
  return { steps, notMade };
}

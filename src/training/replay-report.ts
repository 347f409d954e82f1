import type { AgentConfig } from "../config.ts";
import { OFF_TAPE } from "../rollout/fidelity.ts";
import { AGENT_FAULTS } from "../rollout/group.ts";
import type { ToolFidelity } from "../rollout/measure/measure.ts";
import { wholeScenarioOf } from "../trajectory/record-tape.ts";
import type { GroupSummary } from "./group-summary.ts";

/** What replay came to in a run so far, and what of it is alarming. No text of a conversation is in it. */
export interface ReplayReport {
  iterations: IterationReplay[];
  /** Of the groups that the judge told apart, the share dropped as `simulator_correlated_reward`; null without any. */
  simulatorCorrelated: number | null;
  /** Tasks by the difference of their shares, largest first. */
  clusters: ClusterShare[];
  alarms: ReplayAlarm[];
}

export interface IterationReplay {
  iteration: number;
  groups: number;
  members: number;
  /** Members that were masked, by cause. */
  masked: Record<string, number>;
  maskRate: number;
  /** The same, of the groups with the better and the worse mean reward; the middle one of an odd number is in neither. Null for fewer than two. */
  maskRateByReward: RewardHalves | null;
  /** The same of every cause by itself, the most frequent first. Missing in reports from before it was kept. */
  causes?: MaskCause[];
  calls: number;
  /** Share of the calls that no recording answered: R4 and above; null without calls. */
  offTape: number | null;
}

/** Of the groups with the better and the worse mean reward. */
export interface RewardHalves {
  better: number;
  worse: number;
}

export interface MaskCause {
  cause: string;
  members: number;
  /** Share of all members. */
  rate: number;
  byReward: RewardHalves | null;
}

export interface ClusterShare {
  cluster: string;
  /** Share of the trainable conversations, and of the tokens that train. */
  traffic: number;
  tokens: number;
}

export type AlarmName =
  | "mask_rate"
  | "mask_gap"
  | "agent_faults"
  | "off_tape_rise"
  | "cluster_gap"
  | "simulator_correlated"
  | "false_success";

export interface ReplayAlarm {
  alarm: AlarmName;
  value: number;
  limit: number;
  /** Where: an iteration, a cluster or a tool. */
  where: string;
}

export interface ReportedGroup {
  id: string;
  iteration: number;
  scenarioId: string;
  summary: Pick<GroupSummary, "verdict" | "mean" | "members" | "masked" | "callsByRung"> &
    Partial<Pick<GroupSummary, "completionTokens" | "played">>;
}

export interface ReportInput {
  groups: readonly ReportedGroup[];
  tools: readonly ToolFidelity[];
  /** Cluster of every trainable conversation, by the id of the scenario that it becomes. */
  clusters: ReadonlyMap<string, string>;
  limits: AgentConfig["replay"]["alarms"];
}

/** A share of fewer groups, members, calls or recorded errors than these alarms nobody. */
const MIN_GROUPS = 5;
const MIN_MEMBERS = 20;
const MIN_CALLS = 20;
const MIN_ERRORS = 10;
const MAX_CLUSTERS = 20;

/** Pure; the order of the groups does not matter. */
export function replayReport(input: ReportInput): ReplayReport {
  // Steps made of what replay had cut ask no tool: with them a share would say how many there are, not how often replay fails.
  const replayed = input.groups.filter(({ summary }) => summary.played?.modeReason !== "replay_cut");
  const byIteration = Map.groupBy(replayed, ({ iteration }) => iteration);
  const iterations = [...byIteration]
    .toSorted(([one], [other]) => one - other)
    .map(([iteration, groups]) => iterationOf(iteration, groups));
  const correlated = replayed.filter(({ summary }) => summary.verdict === "simulator_correlated_reward").length;
  const told = correlated + replayed.filter(isKept).length;
  const report = {
    iterations,
    simulatorCorrelated: told === 0 ? null : correlated / told,
    clusters: clusterShares(input).slice(0, MAX_CLUSTERS),
  };
  return { ...report, alarms: alarmsOf(input, report, told) };
}

function iterationOf(iteration: number, groups: readonly ReportedGroup[]): IterationReplay {
  const masked: Record<string, number> = {};
  const rungs: Record<string, number> = {};
  for (const { summary } of groups) {
    for (const [cause, count] of Object.entries(summary.masked)) masked[cause] = (masked[cause] ?? 0) + count;
    for (const [rung, count] of Object.entries(summary.callsByRung)) rungs[rung] = (rungs[rung] ?? 0) + count;
  }
  const calls = total(Object.values(rungs));
  return {
    iteration,
    groups: groups.length,
    members: total(groups.map(({ summary }) => summary.members)),
    masked,
    maskRate: maskRateOf(groups),
    maskRateByReward: byRewardHalf(groups),
    causes: Object.entries(masked)
      .toSorted(([one, ones], [other, others]) => others - ones || (one < other ? -1 : 1))
      .map(([cause, members]) => ({ cause, members, rate: maskRateOf(groups, cause), byReward: byRewardHalf(groups, cause) })),
    calls,
    offTape: calls === 0 ? null : total(OFF_TAPE.map((rung) => rungs[rung] ?? 0)) / calls,
  };
}

function byRewardHalf(groups: readonly ReportedGroup[], cause?: string): RewardHalves | null {
  const ranked = groups
    .filter(({ summary }) => summary.mean !== null)
    .toSorted((a, b) => (b.summary.mean ?? 0) - (a.summary.mean ?? 0) || (a.id < b.id ? -1 : 1));
  const half = Math.floor(ranked.length / 2);
  return half === 0 ? null : { better: maskRateOf(ranked.slice(0, half), cause), worse: maskRateOf(ranked.slice(-half), cause) };
}

/** Of all causes, or of one. */
function maskRateOf(groups: readonly ReportedGroup[], cause?: string): number {
  const members = total(groups.map(({ summary }) => summary.members));
  const masked = total(
    groups.flatMap(({ summary }) => (cause === undefined ? Object.values(summary.masked) : [summary.masked[cause] ?? 0])),
  );
  return members === 0 ? 0 : masked / members;
}

function clusterShares({ groups, clusters }: ReportInput): ClusterShare[] {
  const conversations = new Map<string, number>();
  for (const cluster of clusters.values()) conversations.set(cluster, (conversations.get(cluster) ?? 0) + 1);
  const tokens = new Map<string, number>();
  for (const { scenarioId, summary } of groups.filter(isKept)) {
    const cluster = clusters.get(wholeScenarioOf(scenarioId));
    if (cluster !== undefined) tokens.set(cluster, (tokens.get(cluster) ?? 0) + (summary.completionTokens ?? 0));
  }
  const allTokens = total([...tokens.values()]);
  if (allTokens === 0) return [];
  return [...conversations]
    .map(([cluster, count]) => ({ cluster, traffic: count / clusters.size, tokens: (tokens.get(cluster) ?? 0) / allTokens }))
    .toSorted((one, other) => gapOf(other) - gapOf(one) || (one.cluster < other.cluster ? -1 : 1));
}

function alarmsOf(
  { groups, tools, limits }: ReportInput,
  { iterations, simulatorCorrelated, clusters }: Omit<ReplayReport, "alarms">,
  told: number,
): ReplayAlarm[] {
  const alarms: ReplayAlarm[] = [];
  const check = (alarm: AlarmName, value: number | null, limit: number, where: string): boolean => {
    const isAlarm = value !== null && value > limit;
    if (isAlarm) alarms.push({ alarm, value, limit, where });
    return isAlarm;
  };
  for (const one of iterations.filter(({ members }) => members >= MIN_MEMBERS)) {
    const where = `iteration ${one.iteration}`;
    check("mask_rate", one.maskRate, limits.maskRate, where);
    const faults = (one.causes ?? []).filter(({ cause }) => (AGENT_FAULTS as readonly string[]).includes(cause));
    const named = faults.map(({ cause, members }) => `${cause} ${members}`).join(", ");
    check("agent_faults", total(faults.map(({ rate }) => rate)), limits.agentFaults, `${where}: ${named}`);
    if (one.groups >= MIN_GROUPS) checkGaps(one, (gap, of) => check("mask_gap", gap, limits.maskGap, `${where}${of}`));
  }
  const measured = iterations.filter(({ calls }) => calls >= MIN_CALLS);
  const [first, last] = [measured.at(0), measured.at(-1)];
  if (first !== undefined && last !== undefined && first !== last) {
    const rise = (last.offTape ?? 0) - (first.offTape ?? 0);
    check("off_tape_rise", rise, limits.offTapeRise, `iteration ${first.iteration} to ${last.iteration}`);
  }
  if (groups.filter(isKept).length >= MIN_GROUPS) {
    for (const share of clusters) check("cluster_gap", gapOf(share), limits.clusterGap, `cluster ${share.cluster.slice(0, 12)}`);
  }
  if (told >= MIN_GROUPS) check("simulator_correlated", simulatorCorrelated, limits.simulatorCorrelated, "all iterations");
  for (const { tool, falseSuccess } of tools) {
    if (falseSuccess.errors < MIN_ERRORS) continue;
    check("false_success", falseSuccess.asSuccess / falseSuccess.errors, limits.falseSuccess, `tool ${tool}`);
  }
  return alarms;
}

/** Where one cause alone makes the difference it is named; two that pull against each other are not lost in their sum. */
function checkGaps({ maskRateByReward, causes = [] }: IterationReplay, check: (gap: number, of: string) => boolean): void {
  const gap = (halves: RewardHalves | null): number => (halves === null ? 0 : Math.abs(halves.better - halves.worse));
  const alarming = causes.filter(({ cause, byReward }) => check(gap(byReward), `: ${cause}`));
  if (alarming.length === 0) check(gap(maskRateByReward), "");
}

function isKept({ summary }: ReportedGroup): boolean {
  return summary.verdict === "kept";
}

function gapOf({ traffic, tokens }: ClusterShare): number {
  return Math.abs(traffic - tokens);
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

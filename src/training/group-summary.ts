import type { AgentConfig } from "../config.ts";
import { NightshiftError } from "../errors.ts";
import type { JudgedMember } from "../reward/attempts-text.ts";
import { checkAttempts, type RewardCheck } from "../reward/independent/check-module.ts";
import { combineRewards, type IndependentRewards } from "../reward/independent/combine.ts";
import type { JudgeResult, ScoreProvenance, Scores } from "../reward/judge.ts";
import { groupSignal } from "../reward/signal.ts";
import { lacksProbability, type TrajectoryGroup } from "../rollout/group.ts";

/** What is kept of a judged group beside its body: enough for the funnel, the batch and the page. Lists are in the order of the group's members. */
export interface GroupSummary {
  /** What trains: the judge's rewards, with what stands beside them weighed in. Null for a masked or unscored member. */
  rewards: (number | null)[];
  /** The judge's own: means over its passes. */
  judgeRewards: (number | null)[];
  /** Largest less smallest score over the judge's passes; null where it was asked once. */
  spreads: (number | null)[];
  explanations: (string | null)[];
  /** Who scored, from which prompt, at which cost; null where nobody did. */
  judge: ScoreProvenance | null;
  /** What the judge gave the recorded conversation among these members; it is in no mean and in no batch. Null without an anchor. */
  anchorReward: number | null;
  anchorExplanation: string | null;
  /** Null where no independent reward is configured. */
  independent: IndependentRewards | null;
  /** `kept`, or why the group does not train. */
  verdict: string;
  mean: number | null;
  deviation: number | null;
  members: number;
  masked: Record<string, number>;
  weight: number;
  callsByRung: Record<string, number>;
  simulatedShare: number;
  /** How its scenario was played. Missing in groups from before there was a choice. */
  played?: TrajectoryGroup["played"];
  /** Sampled tokens of the unmasked members. Missing in groups from before they were counted. */
  completionTokens?: number;
  /** Unmasked members that the trainer cannot learn from: the server had no probability for a token of theirs. Missing in groups from before they were counted. */
  withoutProbability?: number;
}

/** What an older version did not write down. */
const UNKNOWN = { judge: null, judgeRewards: [], spreads: [], anchorReward: null, anchorExplanation: null, independent: null };
const UNKNOWN_OF_JUDGE = { promptHash: "", cost: null, passes: 1, elided: false };

/** A summary as it was stored, by whatever version. */
export function readSummary(stored: object): GroupSummary {
  const summary = { ...UNKNOWN, ...stored } as unknown as GroupSummary;
  return summary.judge === null ? summary : { ...summary, judge: { ...UNKNOWN_OF_JUDGE, ...summary.judge } };
}

/** The recorded conversation of a group's scenario, as an attempt, with what was said about it. */
export interface Recorded {
  attempt: JudgedMember;
  /** From 0 to 1; null where nobody said anything. */
  feedback: number | null;
}

/** What a group's summary is made with beside the judge's result. */
export interface SummaryOptions {
  config: AgentConfig;
  /** The judge's own repeat deviation, as far as it is known. */
  judgeDeviation: number;
  check: RewardCheck | null;
  recorded: Recorded | null;
}

/** Pure, as far as the check is. */
export function summarise(group: TrajectoryGroup, result: JudgeResult, options: SummaryOptions): GroupSummary {
  const unscored = (): null[] => group.members.map(() => null);
  const nothing: Scores = { rewards: unscored(), spreads: unscored(), explanations: unscored(), anchor: null };
  const scores = result.status === "scored" ? result : nothing;
  const { rewards, independent, problem } = weigh(group, scores, options);
  const scored = rewards.filter((reward) => reward !== null);
  const mean = scored.length === 0 ? null : scored.reduce((sum, reward) => sum + reward, 0) / scored.length;
  const deviation = mean === null ? null : Math.sqrt(scored.reduce((sum, reward) => sum + (reward - mean) ** 2, 0) / scored.length);
  return {
    rewards,
    judgeRewards: [...scores.rewards],
    spreads: [...scores.spreads],
    explanations: [...scores.explanations],
    judge: result.status === "scored" ? result.provenance : null,
    anchorReward: scores.anchor?.reward ?? null,
    anchorExplanation: scores.anchor?.explanation ?? null,
    independent,
    verdict: problem ?? verdictOf(group, result, rewards, independent, options),
    mean,
    deviation,
    members: group.members.length,
    masked: countMasked(group),
    weight: group.fidelity.weight,
    callsByRung: { ...group.fidelity.callsByRung },
    simulatedShare: group.fidelity.simulatedShare,
    ...(group.played === undefined ? {} : { played: group.played }),
    completionTokens: completionTokensOf(group),
    withoutProbability: unmaskedOf(group).filter(lacksProbability).length,
  };
}

/** Whether the judge's noise is in the rewards at all: not where a check has taken its place. */
export function hasJudgeNoise({ independent }: Pick<GroupSummary, "independent">): boolean {
  return independent?.combined !== "replace";
}

interface Weighed {
  rewards: (number | null)[];
  independent: IndependentRewards | null;
  /** Why the group has no rewards although it was judged. */
  problem?: string;
}

function weigh({ members }: TrajectoryGroup, scores: Scores, { config, check, recorded }: SummaryOptions): Weighed {
  const isNothingBeside = check === null && config.reward.feedback === undefined;
  if (isNothingBeside || scores.rewards.every((reward) => reward === null)) return { rewards: [...scores.rewards], independent: null };
  try {
    const checked = check === null ? null : checkAttempts(check, members);
    return combineRewards(members, scores.rewards, { config: config.reward, check: checked, recorded });
  } catch (error) {
    if (!(error instanceof NightshiftError)) throw error;
    return { rewards: members.map(() => null), independent: null, problem: error.code };
  }
}

/** Replay's word comes first, then the judge's, then the spread rule's, and last whether the trainer can learn from anybody. */
function verdictOf(
  group: TrajectoryGroup,
  result: JudgeResult,
  rewards: readonly (number | null)[],
  independent: IndependentRewards | null,
  { config, judgeDeviation }: SummaryOptions,
): string {
  if (group.fidelity.decision === "drop") return "replay_dropped";
  if (group.fidelity.decision === "step-only") return "replay_step_only";
  if (result.status === "no_signal") return result.reason;
  if (result.status !== "scored") return unavailable(result.error);
  const noise = hasJudgeNoise({ independent }) ? judgeDeviation : 0;
  const signal = groupSignal(group, rewards, { minSpread: config.night.minSpread, judgeDeviation: noise });
  if (!signal.keep) return signal.reason;
  return unmaskedOf(group).every(lacksProbability) ? "no_probabilities" : "kept";
}

function unavailable(error: NightshiftError): string {
  return error.retryable ? "judge_unavailable" : error.code;
}

function unmaskedOf({ members }: TrajectoryGroup): TrajectoryGroup["members"] {
  return members.filter(({ end }) => end.status !== "masked");
}

function completionTokensOf(group: TrajectoryGroup): number {
  const calls = unmaskedOf(group).flatMap((member) => member.calls);
  return calls.reduce((sum, call) => sum + call.completionTokenIds.length, 0);
}

function countMasked(group: TrajectoryGroup): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { end } of group.members) {
    if (end.status === "masked") counts[end.cause] = (counts[end.cause] ?? 0) + 1;
  }
  return counts;
}

import type { Rollout, TrajectoryGroup } from "../rollout/group.ts";

export type NoSignalReason = "too_few_members" | "equal_rewards" | "spread_below_noise" | "simulator_correlated_reward";

export type Signal =
  | { keep: true; deviation: number }
  /** Counted, not trained. `deviation` is null where fewer than two rewards exist. */
  | { keep: false; reason: NoSignalReason; deviation: number | null };

/** Fewer siblings make a mean that is mostly the member itself. */
const MIN_MEMBERS = 3;
/** A spread must stand out from what the judge does when asked the same thing twice. */
const NOISE_MULTIPLE = 1.5;
const MAX_SIMULATED_GAP = 0.25;

/**
 * Whether a judged group teaches anything: at least 3 unmasked members and half of the group, a standard deviation (divisor n) of at least
 * max(minSpread, 1.5 × the judge's own repeat deviation), and better members that are not simply the ones that the simulator answered. Pure.
 * @param rewards in the order of group.members; null for masked or unscored members, which are in no statistic.
 */
export function groupSignal(
  group: Pick<TrajectoryGroup, "members">,
  rewards: readonly (number | null)[],
  bounds: { minSpread: number; judgeDeviation: number },
): Signal {
  const scored = group.members.flatMap((member, index) => {
    const reward = rewards[index] ?? null;
    return member.end.status === "masked" || reward === null ? [] : [{ member, reward }];
  });
  const deviation = scored.length < 2 ? null : standardDeviation(scored.map(({ reward }) => reward));
  const drop = (reason: NoSignalReason): Signal => ({ keep: false, reason, deviation });
  if (deviation === null || scored.length < MIN_MEMBERS || scored.length * 2 < group.members.length) return drop("too_few_members");
  if (deviation === 0) return drop("equal_rewards");
  if (deviation < spreadFloor(bounds)) return drop("spread_below_noise");
  if (simulatedGap(scored) > MAX_SIMULATED_GAP) return drop("simulator_correlated_reward");
  return { keep: true, deviation };
}

/** The least standard deviation of a group that teaches: max(minSpread, 1.5 × the judge's own repeat deviation). Pure. */
export function spreadFloor({ minSpread, judgeDeviation }: { minSpread: number; judgeDeviation: number }): number {
  return Math.max(minSpread, NOISE_MULTIPLE * judgeDeviation);
}

/** Share of a rollout's answered tool calls that the simulator answered; 0 where none was made. */
function simulatedShare(member: Pick<Rollout, "journal">): number {
  const answered = member.journal.filter(({ rung }) => rung !== "R7");
  return answered.length === 0 ? 0 : answered.filter(({ rung }) => rung === "R5").length / answered.length;
}

/** Difference of the mean simulated share between the better and the worse half by reward; the middle one of an odd number is in neither. */
function simulatedGap(scored: readonly { member: Rollout; reward: number }[]): number {
  const ranked = scored.toSorted((a, b) => b.reward - a.reward);
  const half = Math.floor(ranked.length / 2);
  const share = (members: readonly { member: Rollout }[]) => mean(members.map(({ member }) => simulatedShare(member)));
  return Math.abs(share(ranked.slice(0, half)) - share(ranked.slice(-half)));
}

function standardDeviation(values: readonly number[]): number {
  const centre = mean(values);
  // Equal values must give exactly zero: the mean of 0.1 three times is not 0.1.
  if (values.every((value) => value === values[0])) return 0;
  return Math.sqrt(mean(values.map((value) => (value - centre) ** 2)));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

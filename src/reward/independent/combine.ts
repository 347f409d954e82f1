import type { RewardConfig } from "../../config-judge.ts";
import { distinctMembers, type JudgedMember } from "../attempts-text.ts";

/** What stands beside the judge's scores, kept with them. */
export interface IndependentRewards {
  /** What the check says of each member; null for a masked one and where it cannot tell. Null as a whole without a check. */
  check: readonly (number | null)[] | null;
  /** How the check was used. Null where it was not: without one, or where it cannot tell of some member. */
  combined: RewardConfig["combine"] | null;
  /** Of the recorded conversation; `members` are those that did the same over again, whose reward it bounds. Null where nobody said anything. */
  feedback: { value: number; members: readonly number[] } | null;
}

/**
 * The reward that trains, of the judge's and of what is known independently of it. The check is used for all unmasked members of a group or for none: scores on two
 * scales in one group would make an advantage of the scale. Feedback is about the recorded conversation, so it says something of those members only that
 * are the same attempt, and only bounds them: a bonus that one member alone can get would reward copying the recording. Pure.
 * @param judged the judge's rewards, in the order of `members`; null for masked ones
 */
export function combineRewards(
  members: readonly JudgedMember[],
  judged: readonly (number | null)[],
  sources: {
    config: Pick<RewardConfig, "combine" | "weight">;
    check: readonly (number | null)[] | null;
    recorded: { attempt: JudgedMember; feedback: number | null } | null;
  },
): { rewards: (number | null)[]; independent: IndependentRewards } {
  const { config, check, recorded } = sources;
  const isChecked = check !== null && judged.every((reward, index) => reward === null || (check[index] ?? null) !== null);
  const value = recorded?.feedback ?? null;
  const same = recorded === null || value === null ? [] : sameAs(recorded.attempt, members);
  const rewards = judged.map((reward, index) => {
    if (reward === null) return null;
    const checked = isChecked ? (check[index] ?? null) : null;
    const combined = checked === null ? reward : combine(reward, checked, config);
    return value !== null && same.includes(index) ? Math.min(combined, value) : combined;
  });
  return {
    rewards,
    independent: {
      check,
      combined: isChecked ? config.combine : null,
      feedback: value === null ? null : { value, members: same },
    },
  };
}

/** Feedback as a number from 0 to 1; null where it is none of true, false and such a number. Pure. */
export function feedbackScore(value: unknown): number | null {
  if (typeof value === "boolean") return value ? 1 : 0;
  return typeof value === "number" && value >= 0 && value <= 1 ? value : null;
}

function combine(reward: number, checked: number, { combine, weight }: Pick<RewardConfig, "combine" | "weight">): number {
  switch (combine) {
    case "replace":
      return checked;
    case "add":
      return reward + weight * checked;
    case "min":
      return Math.min(reward, checked);
    default:
      return combine satisfies never;
  }
}

/** Indices of the members that are the same attempt as the recorded one. */
function sameAs(recorded: JudgedMember, members: readonly JudgedMember[]): number[] {
  const last = members.length;
  return (distinctMembers([...members, recorded]).find((same) => same.includes(last)) ?? []).filter((index) => index !== last);
}

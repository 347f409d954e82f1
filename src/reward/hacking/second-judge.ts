import { wilson, type Estimate } from "../calibration/statistics.ts";
import type { Check } from "./examine.ts";

/** Scores of the same attempts of one group, in the same order: by the judge that rewarded, and by the one that looks over its shoulder. */
export interface TwoOpinions {
  rewarded: readonly number[];
  second: readonly number[];
}

/** How far the two put attempts in the same order. */
export interface SecondOpinion {
  /** Groups that had a pair which the rewards tell apart. */
  groups: number;
  pairs: number;
  /** Share of those pairs that the second judge puts in the same order; a tie is half a pair. 95 % by Wilson, one group one unit: its pairs lean on one another. Null without a pair. */
  agreement: Estimate | null;
}

/** Below, even total disagreement may be luck: of ten units with a share of 0.4 the interval reaches 0.69. */
const NEEDED = { groups: 10, comparisons: 30 };

/** Pairs whose rewards are `minGap` apart, all groups together. Pure. */
export function secondOpinion(groups: readonly TwoOpinions[], minGap: number): SecondOpinion {
  const counted = groups
    .map(({ rewarded, second }) => {
      let [pairs, same] = [0, 0];
      for (const [index, reward] of rewarded.entries()) {
        for (const [other, otherReward] of rewarded.slice(0, index).entries()) {
          // 0.9 − 0.85 is a little less than 0.05.
          if (Math.abs(reward - otherReward) < minGap - 1e-9) continue;
          const order = Math.sign((second[index] ?? 0) - (second[other] ?? 0)) * Math.sign(reward - otherReward);
          pairs += 1;
          same += (order + 1) / 2;
        }
      }
      return { pairs, same };
    })
    .filter(({ pairs }) => pairs > 0);
  const pairs = counted.reduce((sum, one) => sum + one.pairs, 0);
  const same = counted.reduce((sum, one) => sum + one.same, 0);
  return { groups: counted.length, pairs, agreement: pairs === 0 ? null : wilson(same / pairs, counted.length) };
}

/** Whether the two disagree surely: the interval lies below `minAgreement`. Pure. */
export function checkSecondJudge({ groups, pairs, agreement }: SecondOpinion, minAgreement: number): Check {
  const isEnough = agreement !== null && groups >= NEEDED.groups && pairs >= NEEDED.comparisons;
  return {
    ...{ suspicion: "second_judge", window: "run", explained: null, direction: null, groups, comparisons: pairs, needed: NEEDED },
    status: !isEnough ? "not_enough_data" : agreement.high < minAgreement ? "alarm" : "fine",
    ...(agreement === null ? {} : { agreement }),
  };
}

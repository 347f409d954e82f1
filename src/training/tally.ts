import type { StoredGroup } from "./iteration.ts";

/** What some groups came to: how many, by verdict and by mode, members that only count in the baseline for want of a probability, and the mean of their mean rewards (null while none is judged). Pure. */
export function tally(groups: readonly StoredGroup[]): {
  groups: number;
  kept: number;
  verdicts: Record<string, number>;
  modes: Record<string, number>;
  withoutProbability: number;
  meanReward: number | null;
} {
  const verdicts: Record<string, number> = {};
  const modes: Record<string, number> = {};
  for (const { summary } of groups) {
    verdicts[summary.verdict] = (verdicts[summary.verdict] ?? 0) + 1;
    const mode = summary.played?.mode ?? "loop";
    modes[mode] = (modes[mode] ?? 0) + 1;
  }
  const means = groups.map((group) => group.summary.mean).filter((mean) => mean !== null);
  const meanReward = means.length === 0 ? null : means.reduce((sum, mean) => sum + mean, 0) / means.length;
  const withoutProbability = groups.reduce((sum, { summary }) => sum + (summary.withoutProbability ?? 0), 0);
  return { groups: groups.length, kept: verdicts["kept"] ?? 0, verdicts, modes, withoutProbability, meanReward };
}

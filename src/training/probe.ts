import type { GroupSummary } from "./group-summary.ts";
import { groupIdOf } from "../rollout/loop.ts";
import type { TrajectoryGroup } from "../rollout/group.ts";

/** Probes are kept as groups of this iteration; batches are made of those from 1 on. */
export const PROBE_ITERATION = 0;

/** What a probe showed: members that came out differently, members that did not, or nothing (masked, not judged). */
export type ProbeVerdict = "probe_mixed" | "probe_equal" | "probe_unclear";

/** What tonight's probes say, by scenario. */
export type Probes = ReadonlyMap<string, ProbeVerdict>;

/**
 * A few members of the first iteration's group under a group id of their own: they were played with that group's seeds and ids, so that it takes them as they are.
 */
export function asProbe(group: TrajectoryGroup): TrajectoryGroup {
  const { runId, scenarioId } = group;
  return { ...group, iteration: PROBE_ITERATION, groupId: groupIdOf(runId, PROBE_ITERATION, scenarioId) };
}

/** Whether members of a probe differed by more than noise. Pure. */
export function probeVerdictOf(
  { verdict, rewards }: Pick<GroupSummary, "verdict" | "rewards">,
  { minSpread, judgeDeviation }: { minSpread: number; judgeDeviation: number },
): ProbeVerdict {
  if (verdict === "identical_members") return "probe_equal";
  const scored = rewards.filter((reward) => reward !== null);
  if (scored.length < 2) return "probe_unclear";
  const mean = scored.reduce((sum, reward) => sum + reward, 0) / scored.length;
  const deviation = Math.sqrt(scored.reduce((sum, reward) => sum + (reward - mean) ** 2, 0) / scored.length);
  return deviation >= Math.max(minSpread, 1.5 * judgeDeviation) ? "probe_mixed" : "probe_equal";
}

/** Those whose probe was mixed first, those whose members all did the same last; else in the order given. */
export function byProbe<Item extends { id: string }>(items: readonly Item[], probes: Probes): readonly Item[] {
  const place = ({ id }: Item): number => {
    const verdict = probes.get(id);
    return verdict === "probe_mixed" ? 0 : verdict === "probe_equal" ? 2 : 1;
  };
  return items.toSorted((a, b) => place(a) - place(b));
}

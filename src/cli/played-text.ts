import type { TrajectoryGroup } from "../rollout/group.ts";
import { percent } from "./print.ts";

type Played = NonNullable<TrajectoryGroup["played"]>;

const MODE_REASONS: Record<NonNullable<Played["modeReason"]>, string> = {
  agent_configured: "the agent is configured",
  covered: "its tapes are predicted to answer enough",
  low_coverage: "its tapes are predicted to answer too little",
  live: "it was made up, and its tools are a live sandbox's",
  requests_differ: "its requests did not all extend one transcript",
  replay_cut: "replay had no honest answer after it",
};

const CUT_REASONS: Record<NonNullable<Played["cutFrom"]>["reason"], string> = {
  step_only: "too few of its members have an honest end",
  no_signal: "it had no signal",
};

/** How a group was played and why so; of a step where replay had ended another group's members, which and why. */
export function describePlayed(played: TrajectoryGroup["played"]): string {
  if (played === undefined) return "loop";
  const { mode, modeReason, predictedCoverage, cutFrom } = played;
  const why = modeReason === undefined ? "" : `: ${MODE_REASONS[modeReason]}`;
  const covered = predictedCoverage === undefined ? "" : ` (predicted coverage ${percent(predictedCoverage)})`;
  if (cutFrom === undefined) return `${mode}${why}${covered}`;
  const { group, reason, members } = cutFrom;
  return `${mode}${why}; ${members} ${members === 1 ? "member" : "members"} of group ${group} ended there, which does not train: ${CUT_REASONS[reason]}`;
}

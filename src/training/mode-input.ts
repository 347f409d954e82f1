import type { AgentConfig } from "../config.ts";
import type { Recordings } from "../rollout/recordings.ts";
import type { ModeInput } from "../scenario/mode.ts";

/** What the choice of how to play a scenario looks at, of an agent's recordings. */
export function modeInput(recordings: Recordings, config: AgentConfig, { hasAgent }: { hasAgent: boolean }): ModeInput {
  const { trajectories, others, profiles, selection } = recordings;
  const { minPredictedCoverage } = config.replay;
  return { trajectories, branches: [...trajectories, ...others], tapes: selection.tapes, profiles, hasAgent, minPredictedCoverage };
}

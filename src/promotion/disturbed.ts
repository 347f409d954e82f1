import type { DisturbanceCause } from "../serving/disturbance.ts";
import type { ExperimentStore } from "./experiment-store.ts";
import { isLive } from "./promotion.ts";

/** A gateway's traffic was disturbed: whoever was in conversation then leaves the analysis of the agent's live experiment, if it has one. */
export async function recordDisturbance(
  { agent, cause, atMs }: { agent: string; cause: DisturbanceCause; atMs: number },
  experiments: ExperimentStore,
): Promise<{ experimentId: string | null }> {
  const live = (await experiments.list(agent)).find(({ state }) => isLive(state));
  if (live !== undefined) await experiments.disturbed(live.id, cause, atMs);
  return { experimentId: live?.id ?? null };
}

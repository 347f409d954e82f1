import type { Rollout, SampledCall, TrajectoryGroup } from "../rollout/group.ts";
import type { GroupLine } from "./batch.ts";

/** A scored group as the trainer reads it: exact ids and logprobs, no text. Masked members keep their place without a reward. */
export function groupLine(group: TrajectoryGroup, rewards: readonly (number | null)[]): GroupLine {
  return {
    group_id: group.groupId,
    scenario_id: group.scenarioId,
    weight: group.fidelity.weight,
    members: group.members.map((member, index) => memberLine(member, rewards[index] ?? null)),
  };
}

function memberLine(member: Rollout, reward: number | null): GroupLine["members"][number] {
  const isMasked = member.end.status === "masked" || reward === null;
  return {
    rollout_id: member.rolloutId,
    ...(isMasked ? { masked: true } : { reward }),
    staleness: 0,
    calls: member.calls.map((call) => ({
      prompt_token_ids: [...call.promptTokenIds],
      completion_token_ids: [...call.completionTokenIds],
      logprobs: [...call.logprobs],
      finish_reason: call.finishReason,
      adapter_digest: call.adapterDigest,
      sampling: samplingOf(call),
    })),
  };
}

type Sampling = GroupLine["members"][number]["calls"][number]["sampling"];

/** Whether these values are eligible at all (no truncation, no penalty) is the batch's own check when it is written. */
function samplingOf({ sampling }: SampledCall): Sampling {
  return { temperature: sampling.temperature, top_p: sampling.topP, top_k: sampling.topK, min_p: sampling.minP } as Sampling;
}

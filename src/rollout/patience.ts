import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../log.ts";
import type { TrajectoryGroup } from "./group.ts";
import { rolloutGroup } from "./loop.ts";
import type { GroupPlan } from "./plan.ts";

const ROLLOUTS = 5;
const FIRST_WAIT_MS = 2_000;

/**
 * `rolloutGroup`, again while the infrastructure masked a member of it: a policy server that starts again, or has lost its adapters, costs half a minute and
 * not the group. The bytes are those of a rollout without the outage. Waits 2, 4, 8 and 16 s; what is masked after that stays masked.
 */
export async function rolloutPatiently(
  plan: GroupPlan,
  deps: { log: Logger; wait?: (ms: number) => Promise<void> },
): Promise<TrajectoryGroup> {
  const wait = deps.wait ?? ((ms) => sleep(ms, undefined, plan.signal === undefined ? {} : { signal: plan.signal }));
  for (let attempt = 1; ; attempt += 1) {
    const group = await rolloutGroup(plan);
    const masked = group.members.filter(({ end }) => end.status === "masked" && end.cause === "infrastructure").length;
    if (masked === 0 || attempt === ROLLOUTS) return group;
    deps.log.warn({ group_id: group.groupId, scenario_id: group.scenarioId, masked, attempt }, "policy server gave no answer, waiting");
    await wait(FIRST_WAIT_MS * 2 ** (attempt - 1));
  }
}

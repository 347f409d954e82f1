import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "../log.ts";
import type { Rollout, TrajectoryGroup } from "./group.ts";
import { rolloutGroup } from "./loop.ts";
import type { GroupPlan } from "./plan.ts";

const ROLLOUTS = 5;
const FIRST_WAIT_MS = 2_000;

/**
 * `rolloutGroup`, again while the infrastructure masked a member of it: a policy server that starts again, or has lost its adapters, costs half a minute and
 * not the group. The bytes are those of a rollout without the outage. Waits 2, 4, 8 and 16 s; what is masked after that stays masked. In a live sandbox only the masked ones are
 * played again, as long as it `isOpen`.
 */
export async function rolloutPatiently(
  plan: GroupPlan,
  deps: { log: Logger; wait?: (ms: number) => Promise<void>; isOpen?: () => boolean },
): Promise<TrajectoryGroup> {
  const wait = deps.wait ?? ((ms) => sleep(ms, undefined, plan.signal === undefined ? {} : { signal: plan.signal }));
  let { played } = plan;
  for (let attempt = 1; ; attempt += 1) {
    const group = await rolloutGroup({ ...plan, ...(played === undefined ? {} : { played }) });
    const masked = group.members.filter(isOutage).length;
    if (masked === 0 || attempt === ROLLOUTS || deps.isOpen?.() === false) return group;
    if (plan.live !== undefined) played = group.members.map((member) => (isOutage(member) ? null : member));
    const phrase = plan.live === undefined ? "policy server gave no answer, waiting" : "policy server or sandbox gave no answer, waiting";
    deps.log.warn({ group_id: group.groupId, scenario_id: group.scenarioId, masked, attempt }, phrase);
    await wait(FIRST_WAIT_MS * 2 ** (attempt - 1));
  }
}

function isOutage({ end }: Rollout): boolean {
  return end.status === "masked" && end.cause === "infrastructure";
}

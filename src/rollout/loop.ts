import { nightshiftError } from "../errors.ts";
import { fidelityOf } from "./fidelity.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { Rollout, TrajectoryGroup } from "./group.ts";
import { playMember } from "./member.ts";
import type { GroupPlan, MemberPlan } from "./plan.ts";
import { seededId, seededInteger } from "./seed.ts";
import { startOf } from "./start.ts";
import { playStep } from "./step.ts";

/** Identity of a group. */
export function groupIdOf(runId: string, iteration: number, scenarioId: string): string {
  return seededId("group", runId, iteration, scenarioId);
}

/**
 * Plays one scenario `groupSize` times against the policy, with tool calls answered from tapes; nothing is executed, but in a sandbox where `openTools` leads there. The same plan with a policy server
 * that is a function of its request gives the same bytes (`encodeGroup`), however many members run at once. Rejects only when `signal` aborts.
 */
export async function rolloutGroup(plan: GroupPlan): Promise<TrajectoryGroup> {
  const { scenario, runId, iteration, runSeed } = plan;
  const groupId = groupIdOf(runId, iteration, scenario.id);
  const start = startOf(scenario);
  const play = driverOf(plan);
  const members = await Promise.all(
    Array.from({ length: plan.groupSize }, (_, index) => {
      const member: MemberPlan = {
        ...plan,
        start,
        rolloutId: seededId("rollout", groupId, index),
        seed: seededInteger("member", runSeed, iteration, scenario.id, index),
      };
      const played = plan.played?.[index];
      const isThisMember = played?.rolloutId === member.rolloutId && played.seed === member.seed;
      return played != null && isThisMember ? Promise.resolve(played) : plan.limiter(() => play(member));
    }),
  );
  return {
    groupId,
    runId,
    iteration,
    scenarioId: scenario.id,
    played: playedAs(scenario),
    adapterDigest: plan.adapterDigest,
    tools: scenario.start.tools.map(({ name, description, parameters }) => ({
      name,
      ...(description === undefined ? {} : { description }),
      ...(parameters === undefined ? {} : { parameters }),
    })),
    members,
    fidelity: { ...fidelityOf(members, scenario.recordedAtMs), ...(plan.live === undefined ? {} : { live: plan.live }) },
  };
}

/** What plays one member, by the scenario's mode. @throws NightshiftError `replay_agent_missing` */
function driverOf({ scenario, agentDriver }: GroupPlan): (member: MemberPlan) => Promise<Rollout> {
  if (scenario.mode === "loop") return playMember;
  if (scenario.mode === "step") return playStep;
  if (agentDriver == null) throw nightshiftError("replay_agent_missing", { agent: scenario.agent, scenario: scenario.id });
  return (member) => agentDriver.play(member);
}

function playedAs({ mode, modeReason, predictedCoverage, cutFrom }: Scenario): NonNullable<TrajectoryGroup["played"]> {
  return {
    mode,
    ...(modeReason === undefined ? {} : { modeReason }),
    ...(predictedCoverage === undefined ? {} : { predictedCoverage }),
    ...(cutFrom === undefined ? {} : { cutFrom }),
  };
}

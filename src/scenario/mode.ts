import type { Tape } from "../trajectory/tape.ts";
import type { ToolProfiles } from "../trajectory/tool-profile.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import { predictedCoverage } from "./coverage.ts";
import type { Scenario } from "./scenario.ts";

export interface ModeInput {
  /** The conversations that scenarios were made of. */
  trajectories: readonly Trajectory[];
  /** Every branch of every conversation, taught from or not. */
  branches: readonly Pick<Trajectory, "id" | "conversationId">[];
  tapes: readonly Tape[];
  profiles: ToolProfiles;
  /** The user's own agent can be run. */
  hasAgent: boolean;
  minPredictedCoverage: number;
}

/**
 * The scenarios with how each is played, and why: by the user's `agent` where there is one; by the `loop` where the recorded requests extend their own prefix and the
 * tapes are predicted to answer enough; else `step` by step. Pure.
 */
export function withModes(scenarios: readonly Scenario[], input: ModeInput): Scenario[] {
  const tapes = new Map(input.tapes.map((tape) => [tape.id, tape]));
  const own = new Map(input.trajectories.map((trajectory) => [`${trajectory.id}@${trajectory.version}`, trajectory]));
  const branches = Map.groupBy(input.branches, ({ conversationId }) => conversationId);
  return scenarios.map((scenario) => {
    const [tape, ...others] = scenario.tapes.map((id) => tapes.get(id));
    const coverage = predictedCoverage(
      tape,
      others.filter((one) => one !== undefined),
      input.profiles,
    );
    const trajectory = own.get(`${scenario.trajectoryId}@${scenario.trajectoryVersion}`);
    const chosen = { ...scenario, predictedCoverage: coverage };
    if (input.hasAgent) return { ...chosen, mode: "agent", modeReason: "agent_configured" };
    if (trajectory === undefined || !extendsItself(trajectory, branches.get(scenario.conversationId) ?? []))
      return { ...chosen, mode: "step", modeReason: "requests_differ" };
    return coverage < input.minPredictedCoverage
      ? { ...chosen, mode: "step", modeReason: "low_coverage" }
      : { ...chosen, mode: "loop", modeReason: "covered" };
  });
}

/**
 * Whether every model call of a conversation read what the calls before it read and wrote: one transcript, without parent, with an answer for every call. Another
 * branch is a retry, a sub-agent or a compaction, which the loop does not do.
 */
function extendsItself(
  { id, parentId, messages, usage }: Pick<Trajectory, "id" | "parentId" | "messages" | "usage">,
  branches: readonly Pick<Trajectory, "id">[],
): boolean {
  if (parentId !== null || branches.some((other) => other.id !== id)) return false;
  return usage.calls <= messages.filter(({ role }) => role === "assistant").length;
}

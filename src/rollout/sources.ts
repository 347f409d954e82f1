import { wholeScenarioOf } from "../trajectory/record-tape.ts";
import type { Rollout, TrajectoryGroup } from "./group.ts";

/**
 * Whose text a group holds: its scenario, and every trajectory whose tape answered or was the model of an answer, by its tape (`trajectory id@version`), in order. Erasing one of them erases the
 * group.
 */
export function sourcesOfGroup(group: Pick<TrajectoryGroup, "scenarioId" | "members">): string[] {
  return sourcesOf(group.scenarioId, group.members);
}

/** As `sourcesOfGroup`, for any rollouts of one scenario. */
export function sourcesOf(scenarioId: string, rollouts: readonly Pick<Rollout, "journal">[]): string[] {
  const tapes = rollouts.flatMap(({ journal }) =>
    journal.flatMap(({ servedFrom, madeFrom = [] }) => [...(servedFrom === undefined ? [] : [servedFrom.tape]), ...madeFrom]),
  );
  return [...new Set([wholeScenarioOf(scenarioId), ...tapes])].toSorted();
}

import { textOf, type Message } from "../trace/message.ts";
import { namesOf, pseudonymsOf, type Names } from "../trajectory/names.ts";
import { schemaHashOf, tapeIdOf } from "../trajectory/record-tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { ReplayStart } from "./cascade/situation.ts";

/** What the cascade needs of a scenario. */
export function startOf(scenario: Scenario): ReplayStart {
  const names = namesOf(scenario.id, scenario.start.pseudonyms ?? {});
  return {
    scenarioId: scenario.id,
    names,
    tapeId: tapeIdOf({ id: scenario.trajectoryId, version: scenario.trajectoryVersion }),
    clockMs: scenario.start.clockMs,
    tools: scenario.start.tools,
    schemaHashes: new Set(scenario.start.tools.map(schemaHashOf)),
    toldText: told(names, [...scenario.start.messages, ...scenario.start.userTurns]),
  };
}

/** The same, straight from a recorded conversation. */
export function startOfTrajectory(trajectory: Trajectory): ReplayStart {
  const names = namesOf(trajectory.id, pseudonymsOf(trajectory));
  return {
    scenarioId: trajectory.id,
    names,
    tapeId: tapeIdOf(trajectory),
    clockMs: trajectory.startedAtMs,
    tools: trajectory.tools ?? [],
    schemaHashes: new Set((trajectory.tools ?? []).map(schemaHashOf)),
    toldText: told(
      names,
      trajectory.messages.filter((message) => message.role !== "assistant" && message.role !== "tool"),
    ),
  };
}

function told(names: Names, messages: readonly Message[]): string {
  return names.toTape(messages.map(textOf).join("\n"));
}

import { textOf } from "../trace/message.ts";
import { tapeIdOf } from "../trajectory/record-tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { ReplayStart } from "./situation.ts";

/** What the cascade needs of a scenario. */
export function startOf(scenario: Scenario): ReplayStart {
  return {
    scenarioId: scenario.id,
    tapeId: tapeIdOf({ id: scenario.trajectoryId, version: scenario.trajectoryVersion }),
    clockMs: scenario.start.clockMs,
    tools: scenario.start.tools,
    toldText: [...scenario.start.messages, ...scenario.start.userTurns].map(textOf).join("\n"),
  };
}

/** The same, straight from a recorded conversation. */
export function startOfTrajectory(trajectory: Trajectory): ReplayStart {
  return {
    scenarioId: trajectory.id,
    tapeId: tapeIdOf(trajectory),
    clockMs: trajectory.startedAtMs,
    tools: trajectory.tools ?? [],
    toldText: trajectory.messages
      .filter((message) => message.role !== "assistant" && message.role !== "tool")
      .map(textOf)
      .join("\n"),
  };
}

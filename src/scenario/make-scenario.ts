import { textOf, type Message } from "../trace/message.ts";
import { pseudonymsOf } from "../trajectory/names.ts";
import { scenarioIdOf } from "../trajectory/record-tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import { firstUser } from "./first-turn.ts";
import type { Scenario } from "./scenario.ts";
import { subjectOf } from "./split.ts";

/** Characters of an agent's text that are compared with what a rollout's agent says. */
const MAX_ASKED_CHARS = 4_000;

/** A recorded conversation as a situation to replay: what the agent was told, not what it answered. */
export function scenarioOf(trajectory: Trajectory, of: Pick<Scenario, "cluster" | "split" | "tapes" | "selectedFor">): Scenario {
  const { messages } = trajectory;
  const first = firstUser(messages);
  const userTurns = messages.slice(first + 1).filter((message) => message.role === "user" && textOf(message) !== "");
  return {
    id: scenarioIdOf(trajectory),
    tenant: trajectory.tenant,
    agent: trajectory.agent,
    trajectoryId: trajectory.id,
    trajectoryVersion: trajectory.version,
    conversationId: trajectory.conversationId,
    subject: subjectOf(trajectory).subject,
    cluster: of.cluster,
    start: {
      messages: messages.slice(0, first + 1),
      userTurns,
      tools: trajectory.tools ?? [],
      clockMs: trajectory.startedAtMs,
      pseudonyms: pseudonymsOf(trajectory),
    },
    userModel: { asked: userTurns.map((turn) => saidBefore(messages, turn)) },
    tapes: of.tapes,
    mode: "loop",
    split: of.split,
    recordedAtMs: trajectory.startedAtMs,
    recordedCalls: messages.filter((message) => message.role === "assistant").length,
    ...(of.selectedFor === undefined ? {} : { selectedFor: of.selectedFor }),
  };
}

/** The recorded agent's last text between this user turn and the one before it. */
function saidBefore(messages: readonly Message[], turn: Message): string {
  const before = messages.slice(0, messages.indexOf(turn));
  const since = before.slice(before.findLastIndex(({ role }) => role === "user") + 1);
  const said = since.findLast((message) => message.role === "assistant" && textOf(message) !== "");
  return said === undefined ? "" : textOf(said).slice(-MAX_ASKED_CHARS).toWellFormed();
}

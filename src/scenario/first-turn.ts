import { textOf, type Message } from "../trace/message.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";

/** Place of the first user message that says something; −1 where there is none. */
export function firstUser(messages: readonly Message[]): number {
  return messages.findIndex((message) => message.role === "user" && textOf(message) !== "");
}

/** What the user asked for first; "" where nobody did. */
export function firstUserText(trajectory: Pick<Trajectory, "messages">): string {
  const message = trajectory.messages[firstUser(trajectory.messages)];
  return message === undefined ? "" : textOf(message);
}

/** The agent's prompt: what its system and developer messages say. */
export function systemText(trajectory: Pick<Trajectory, "messages">): string {
  return trajectory.messages
    .filter((message) => message.role === "system" || message.role === "developer")
    .map(textOf)
    .join("\n");
}

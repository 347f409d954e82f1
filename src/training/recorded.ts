import { feedbackScore } from "../reward/independent/combine.ts";
import { fromChatMessage, toChatMessages } from "../rollout/chat-messages.ts";
import type { Recordings } from "../rollout/recordings.ts";
import type { Scenario } from "../scenario/scenario.ts";
import type { Recorded } from "./group-summary.ts";

/**
 * What production did in a scenario, by the scenario: the conversation that it was made of, and its newest feedback of that name; of a single step, what was done
 * there, which no feedback is about. Null for a conversation that is no longer there. Pure.
 */
export function recordedConversations(
  { trajectories, selection }: Pick<Recordings, "trajectories" | "selection">,
  feedbackName: string | undefined,
): (scenario: Pick<Scenario, "trajectoryId" | "trajectoryVersion"> & Partial<Pick<Scenario, "start" | "pivot">>) => Recorded | null {
  const byVersion = new Map(trajectories.map((trajectory) => [`${trajectory.id}@${trajectory.version}`, trajectory]));
  const feedback = new Map<string, number>();
  // Oldest first: the newest stays.
  for (const { conversationId, name, value } of selection.feedback) {
    const score = feedbackScore(value);
    if (name === feedbackName && score !== null) feedback.set(conversationId, score);
  }
  return ({ trajectoryId, trajectoryVersion, start, pivot }) => {
    const trajectory = byVersion.get(`${trajectoryId}@${trajectoryVersion}`);
    if (trajectory === undefined) return null;
    if (start !== undefined && pivot !== undefined) {
      const messages = toChatMessages([...start.messages, pivot.recorded]).map(fromChatMessage);
      return { attempt: { messages, end: { status: "completed" } }, feedback: null };
    }
    const { finishReason, conversationId } = trajectory;
    // As a rollout's messages and end would say it: the judge must not tell the two apart by their form.
    const messages = toChatMessages(trajectory.messages).map(fromChatMessage);
    const end = finishReason === "length" ? ({ status: "truncated", cause: "length" } as const) : ({ status: "completed" } as const);
    return { attempt: { messages, end }, feedback: feedback.get(conversationId) ?? null };
  };
}

import type { ChatRequest } from "../serving/policy-server.ts";
import { fromChatMessage, toChatMessages, toChatTools, withStableIds } from "./chat-messages.ts";
import type { Rollout, RolloutEnd } from "./group.ts";
import { callModel, sampledCall } from "./model-call.ts";
import type { MemberPlan } from "./plan.ts";
import { seededInteger } from "./seed.ts";

/**
 * Plays one model call of a recorded conversation: the policy's next action after the recorded messages. Its tool calls are judged, not answered. Rejects only when
 * `signal` aborts.
 */
export async function playStep(plan: MemberPlan): Promise<Rollout> {
  const messages = toChatMessages(plan.scenario.start.messages);
  const request: ChatRequest = {
    model: plan.model,
    messages,
    tools: toChatTools(plan.scenario.start.tools),
    sampling: { ...plan.sampling, seed: seededInteger("call", plan.seed, 0) },
  };
  const result = await callModel(plan, request, plan.signal);
  const played = { rolloutId: plan.rolloutId, scenarioId: plan.scenario.id, journal: [], seed: plan.seed };
  if (result === null) {
    return { ...played, messages: messages.map(fromChatMessage), calls: [], end: { status: "masked", cause: "infrastructure" } };
  }
  // After the recorded turns: ids of their calls must not come twice.
  const turn = messages.filter(({ role }) => role === "assistant").length;
  const end: RolloutEnd = result.finishReason === "length" ? { status: "truncated", cause: "length" } : { status: "completed" };
  return {
    ...played,
    messages: [...messages, withStableIds(result.message, turn)].map(fromChatMessage),
    calls: [sampledCall(plan, request, result)],
    end,
  };
}

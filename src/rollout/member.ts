import type { ChatMessage, ChatRequest } from "../serving/policy-server.ts";
import { fromChatMessage, toChatMessages, toChatTools, withStableIds } from "./chat-messages.ts";
import { simulatedShareOf } from "./fidelity.ts";
import type { Rollout, RolloutEnd, SampledCall, SimulatedUserTurn } from "./group.ts";
import { callModel, overLimit, sampledCall } from "./model-call.ts";
import type { MemberPlan } from "./plan.ts";
import { createReplaySession } from "./replay-session.ts";
import { seededInteger } from "./seed.ts";
import { sourcesOf } from "./sources.ts";
import type { ToolSession } from "./tool-session.ts";
import { createUserSession, type UserSession } from "./user/user-session.ts";

/** What a member has so far; `messages` go to the server as they are, so that every request extends the one before. */
interface Progress {
  messages: ChatMessage[];
  calls: SampledCall[];
  tools: ToolSession;
  user: UserSession;
  simulatedUserTurns: SimulatedUserTurn[];
}

/** Plays one member to its end. Rejects only when `signal` aborts. */
export async function playMember(plan: MemberPlan): Promise<Rollout> {
  const progress: Progress = {
    messages: [...toChatMessages(plan.scenario.start.messages)],
    calls: [],
    tools: (plan.openTools ?? createReplaySession)(plan),
    user: createUserSession(plan),
    simulatedUserTurns: [],
  };
  let end: RolloutEnd | null = null;
  try {
    while (end === null) end = overLimit(plan, progress.calls.length) ?? (await playTurn(plan, progress));
  } finally {
    await progress.tools.close?.();
  }
  // The agent's own end or not: answers that were mostly made up teach nothing about the world.
  if (end.status !== "masked" && simulatedShareOf(progress.tools.journal()) > plan.limits.maxSimulatedShare) {
    end = { status: "masked", cause: "simulated_share" };
  }
  return {
    rolloutId: plan.rolloutId,
    scenarioId: plan.scenario.id,
    messages: progress.messages.map(fromChatMessage),
    calls: progress.calls,
    journal: progress.tools.journal(),
    ...(progress.simulatedUserTurns.length === 0 ? {} : { simulatedUserTurns: progress.simulatedUserTurns }),
    end,
    seed: plan.seed,
  };
}

/** One model call and the answers to its tool calls; the end, or null to go on. */
async function playTurn(plan: MemberPlan, progress: Progress): Promise<RolloutEnd | null> {
  const turn = progress.calls.length;
  const request: ChatRequest = {
    model: plan.model,
    messages: [...progress.messages],
    tools: toChatTools(plan.scenario.start.tools),
    sampling: { ...plan.sampling, seed: seededInteger("call", plan.seed, turn) },
  };
  const result = await callModel(plan, request, plan.signal);
  if (result === null) return { status: "masked", cause: "infrastructure" };
  const message = withStableIds(result.message, turn);
  progress.messages.push(message);
  progress.calls.push(sampledCall(plan, request, result));
  if (result.finishReason === "length") return { status: "truncated", cause: "length" };
  const toolCalls = message.tool_calls ?? [];
  if (toolCalls.length > 0) return answerCalls(plan, progress, toolCalls);
  return hearUser(plan, progress, message.content ?? "");
}

/** The user's turn after a reply; the end, or null to go on. */
async function hearUser(plan: MemberPlan, progress: Progress, said: string): Promise<RolloutEnd | null> {
  const sources = sourcesOf(plan.scenario.id, [{ journal: progress.tools.journal() }]);
  const turn = await progress.user.next(said, { sources, ...(plan.signal === undefined ? {} : { signal: plan.signal }) });
  if (turn.status === "over") return { status: "completed" };
  if (turn.status === "cut") return { status: "completed", cut: "user_turn" };
  if (turn.status === "unavailable") return { status: "masked", cause: "infrastructure" };
  if (turn.simulated !== null) progress.simulatedUserTurns.push({ message: progress.messages.length, ...turn.simulated });
  progress.messages.push(...turn.messages);
  return null;
}

async function answerCalls(
  plan: MemberPlan,
  progress: Progress,
  toolCalls: NonNullable<ChatMessage["tool_calls"]>,
): Promise<RolloutEnd | null> {
  const turn = toolCalls.map(({ function: { name, arguments: text } }) => ({ tool: name, arguments: text }));
  const { results, end } = await progress.tools.answer(turn, plan.signal === undefined ? {} : { signal: plan.signal });
  for (const [index, { text }] of results.entries()) {
    progress.messages.push({ role: "tool", tool_call_id: toolCalls[index]?.id ?? "", content: text });
  }
  return end;
}

import type { ChatMessage, ChatRequest } from "../../serving/policy-server.ts";
import { createLimiter } from "../../limiter.ts";
import { fromChatMessage, toChatMessages, withStableIds } from "../chat-messages.ts";
import { simulatedShareOf } from "../fidelity.ts";
import type { Rollout, RolloutEnd, SampledCall } from "../group.ts";
import { callModel, overLimit, sampledCall } from "../model-call.ts";
import type { MemberPlan } from "../plan.ts";
import { seededInteger } from "../seed.ts";
import type { ToolResult, ToolSession } from "../tool-session.ts";
import type { ChatAnswer } from "./chat-answer.ts";
import { readChatRequest, type AgentRequest, type ReadRequest } from "./chat-request.ts";
import { answerPlace, hasSkippedWrite, placeIn, toolBlock, type BlockAnswer, type ToolBlock } from "./tool-block.ts";
import { extendedBranch, type Branch } from "./transcript-branches.ts";

export type ChatOutcome =
  | { status: "answered"; request: AgentRequest; answer: ChatAnswer }
  | { status: "refused"; problem: "invalid_request" | "unsupported_request" | "rollout_ended" | "model_unavailable"; message: string };

/** One rollout of the user's own agent, as its model calls and tool calls make it. Everything is refused once it has ended. */
export interface AgentSession {
  /**
   * Answers a model call. `read` makes the chat request of its body; default: as `POST /v1/chat/completions` has it. A call whose `signal` aborts is as if it had not
   * been made. Rejects only then.
   */
  chat(body: unknown, signal: AbortSignal, read?: (body: unknown) => ReadRequest): Promise<ChatOutcome>;
  /** Answers a tool call from the rollout's tools; null where the rollout has ended, or ends here. */
  callTool(tool: string, args: unknown): Promise<ToolResult | null>;
  /** Why it ended of itself; null while it goes on. */
  ended(): RolloutEnd | null;
  /** Aborts when it ends of itself: nobody need wait for the agent. */
  over: AbortSignal;
  /** Ends it (where it has not ended of itself) and says what it came to. */
  finish(end: RolloutEnd): Rollout;
}

/** What has happened so far. */
interface Progress {
  branches: Branch[];
  /** The branch of the last answer: what the agent's reply to its user was made from. */
  last: Branch | null;
  /** By the order in which they were asked for; a hole for one that was not answered. */
  calls: (SampledCall | undefined)[];
  begun: number;
  /** Requests with these messages so far. */
  seen: Map<string, number>;
  end: RolloutEnd | null;
}

/** @param tools Where the rollout's tool calls are answered; one at a time. */
export function createAgentSession(plan: MemberPlan, tools: ToolSession): AgentSession {
  const progress: Progress = { branches: [], last: null, calls: [], begun: 0, seen: new Map(), end: null };
  const over = new AbortController();
  const inTurn = createLimiter(1);
  const endWith = (end: RolloutEnd): void => {
    if (progress.end !== null) return;
    progress.end = end;
    over.abort();
  };

  return {
    over: over.signal,
    ended: () => progress.end,
    async chat(body, signal, readRequest = readChatRequest) {
      if (progress.end !== null) return refused("rollout_ended", "The rollout has ended.");
      const read = readRequest(body);
      if (read.status === "invalid") return refused("invalid_request", read.message);
      if (read.status === "unsupported") {
        endWith({ status: "masked", cause: "unsupported_request" });
        return refused("unsupported_request", read.message);
      }
      const limit = overLimit(plan, progress.begun) ?? closeBlock(extendedBranch(progress.branches, read.request.messages));
      if (limit !== null) {
        endWith(limit);
        return refused("rollout_ended", "The rollout has ended.");
      }
      return answerChat(plan, progress, read.request, AbortSignal.any([signal, over.signal]), endWith);
    },
    callTool: (tool, args) =>
      inTurn(async () => {
        if (progress.end !== null) return null;
        const answered = await answerTool(plan, progress, tools, { tool, arguments: args }, over.signal);
        if (answered.status === "answered") return answered.result;
        endWith(answered.end);
        return null;
      }),
    finish(end) {
      const final = verdictOf(progress, tools, progress.end ?? end, plan);
      endWith(final);
      return {
        rolloutId: plan.rolloutId,
        scenarioId: plan.scenario.id,
        messages: (progress.last?.messages ?? toChatMessages(plan.scenario.start.messages)).map(fromChatMessage),
        calls: progress.calls.filter((call) => call !== undefined),
        journal: tools.journal(),
        end: final,
        seed: plan.seed,
        ...(progress.branches.length > 1 ? { branches: progress.branches.length } : {}),
      };
    },
  };
}

function refused(problem: Extract<ChatOutcome, { status: "refused" }>["problem"], message: string): ChatOutcome {
  return { status: "refused", problem, message };
}

/** A transcript that goes on has left its last tool calls behind. */
function closeBlock(branch: Branch | null): RolloutEnd | null {
  return branch?.block != null && hasSkippedWrite(branch.block) ? { status: "masked", cause: "skipped_write" } : null;
}

async function answerChat(
  plan: MemberPlan,
  progress: Progress,
  request: AgentRequest,
  signal: AbortSignal,
  endWith: (end: RolloutEnd) => void,
): Promise<ChatOutcome> {
  const place = progress.begun;
  progress.begun += 1;
  const turn = turnOf(plan, request.messages);
  const sent = seededRequest(plan, progress, request, turn);
  const result = await callModel(plan, sent, signal).catch((cause: unknown) => {
    // Nobody has its answer: the agent will ask again, or has gone.
    progress.begun -= progress.begun === place + 1 ? 1 : 0;
    progress.seen.set(keyOf(request), (progress.seen.get(keyOf(request)) ?? 1) - 1);
    if (progress.end === null) throw cause;
    return null;
  });
  if (progress.end !== null) return refused("rollout_ended", "The rollout has ended.");
  if (result === null) {
    endWith({ status: "masked", cause: "infrastructure" });
    return refused("model_unavailable", "The policy server gave no answer.");
  }
  const message = withStableIds(result.message, turn);
  const branch = extendedBranch(progress.branches, request.messages);
  const next: Branch = { messages: [...request.messages, message], block: blockOf(plan, message) };
  progress.branches = [...progress.branches.filter((one) => one !== branch), next];
  progress.last = next;
  progress.calls[place] = sampledCall(plan, sent, result);
  const tokens = { promptTokens: result.promptTokenIds.length, completionTokens: result.completionTokenIds.length };
  const id = `chatcmpl-${plan.rolloutId}-${place}`;
  const { finishReason } = result;
  return { status: "answered", request, answer: { id, createdAtMs: plan.start.clockMs, request, message, finishReason, ...tokens } };
}

/** Model turns that the request has behind it: the loop's count, so that an agent that does what the loop does samples what the loop samples. */
function turnOf({ scenario }: MemberPlan, messages: readonly ChatMessage[]): number {
  const given = scenario.start.messages.filter(({ role }) => role === "assistant").length;
  return Math.max(0, messages.filter(({ role }) => role === "assistant").length - given);
}

/** The seed is a function of what is asked, not of when: an agent that asks the same twice gets two draws, one that asks two things at once gets the same every time. */
function seededRequest(plan: MemberPlan, progress: Progress, request: AgentRequest, turn: number): ChatRequest {
  const key = keyOf(request);
  const before = progress.seen.get(key) ?? 0;
  progress.seen.set(key, before + 1);
  const seed = before === 0 ? seededInteger("call", plan.seed, turn) : seededInteger("call", plan.seed, turn, before);
  const maxTokens = Math.min(plan.sampling.maxTokens, request.maxTokens ?? plan.sampling.maxTokens);
  return {
    model: plan.model,
    messages: request.messages,
    tools: request.tools,
    sampling: { ...plan.sampling, maxTokens, seed },
    ...(Object.keys(request.passed).length === 0 ? {} : { passed: request.passed }),
  };
}

function keyOf({ messages }: AgentRequest): string {
  return JSON.stringify(messages);
}

function blockOf({ cascade, start }: MemberPlan, { tool_calls: calls = [] }: ChatMessage): ToolBlock | null {
  if (calls.length === 0) return null;
  return toolBlock(
    calls.map(({ function: { name: tool, arguments: text } }) => ({
      request: { tool, arguments: text },
      callKey: cascade.prepare(start, tool, text).callKey,
    })),
  );
}

/** The newest model answer that asked for this call says which turn it is part of; what none asked for is a turn of its own. */
async function answerTool(
  { cascade, start }: MemberPlan,
  { branches }: Progress,
  tools: ToolSession,
  request: { tool: string; arguments: unknown },
  signal: AbortSignal,
): Promise<BlockAnswer> {
  const { callKey } = cascade.prepare(start, request.tool, request.arguments);
  const asked =
    branches.findLast(({ block }) => block !== null && placeIn(block, callKey) >= 0)?.block ?? toolBlock([{ request, callKey }]);
  return answerPlace(asked, placeIn(asked, callKey), tools, signal);
}

/** What an end that the agent brought about really was. */
function verdictOf({ calls, last, branches }: Progress, tools: ToolSession, end: RolloutEnd, { limits }: MemberPlan): RolloutEnd {
  if (end.status === "masked") return end;
  // Without a sample there is nothing to train; without the policy's word the reply was not its own.
  if (last === null) return { status: "masked", cause: "agent_failed" };
  if (branches.some(({ block }) => block !== null && hasSkippedWrite(block))) return { status: "masked", cause: "skipped_write" };
  if (simulatedShareOf(tools.journal()) > limits.maxSimulatedShare) return { status: "masked", cause: "simulated_share" };
  if (end.status === "truncated") return end;
  if (calls.findLast((call) => call !== undefined)?.finishReason === "length") return { status: "truncated", cause: "length" };
  // The model was never shown what its last calls gave: the agent's own limit. (Last calls that were not made are a framework's way to say the final answer.)
  return last.block !== null && last.block.claimed.size > 0 ? { status: "truncated", cause: "max_calls" } : end;
}

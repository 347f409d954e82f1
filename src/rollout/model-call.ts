import { setTimeout as wait } from "node:timers/promises";
import type { ChatRequest, ChatResult } from "../serving/policy-server.ts";
import type { RolloutEnd, SampledCall } from "./group.ts";
import type { MemberPlan } from "./plan.ts";

const MAX_WAIT_MS = 30_000;

export type Completed = Extract<ChatResult, { status: "completed" }>;

/** The server's reply, after as many tries as the limits allow; null when it gave none. Rejects only when `signal` aborts. */
export async function callModel(
  plan: Pick<MemberPlan, "policyServer" | "limits">,
  request: ChatRequest,
  signal: AbortSignal | undefined,
): Promise<Completed | null> {
  const options = signal === undefined ? {} : { signal };
  for (let attempt = 1; attempt <= plan.limits.maxAttempts; attempt += 1) {
    const result = await plan.policyServer.chat(request, options);
    if (result.status === "completed") return result;
    if (result.status === "rejected") return null;
    if (attempt < plan.limits.maxAttempts) await wait(Math.min(result.retryAfterMs * 2 ** (attempt - 1), MAX_WAIT_MS), undefined, options);
  }
  return null;
}

/** A reply as the trainer needs it. */
export function sampledCall(plan: Pick<MemberPlan, "adapterDigest">, { sampling }: ChatRequest, result: Completed): SampledCall {
  return {
    promptTokenIds: result.promptTokenIds,
    completionTokenIds: result.completionTokenIds,
    logprobs: result.logprobs,
    finishReason: result.finishReason,
    adapterDigest: plan.adapterDigest,
    sampling: { temperature: sampling.temperature, topP: sampling.topP, topK: 0, minP: 0, seed: sampling.seed },
  };
}

/** How the rollout ends where it has made `calls` model calls and wants another; null where it may. */
export function overLimit({ scenario, limits }: Pick<MemberPlan, "scenario" | "limits">, calls: number): RolloutEnd | null {
  const { recordedCalls } = scenario;
  if (calls >= Math.max(1.5 * recordedCalls, recordedCalls + 6)) return { status: "masked", cause: "too_many_calls" };
  return calls >= limits.maxCalls ? { status: "truncated", cause: "max_calls" } : null;
}

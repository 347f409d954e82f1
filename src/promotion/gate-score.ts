import { setTimeout as sleep } from "node:timers/promises";
import type { SampledCall } from "../rollout/group.ts";
import type { PolicyServer } from "../serving/policy-server.ts";
import type { KlSums } from "./gate-kl.ts";

/** One policy by the name that servers know it by. */
export interface Arms {
  candidate: string;
  stable: string;
  base: string;
}

/** Token ids of a rollout laid end to end, and where the sampled ones are. */
export interface SampledSequence {
  tokenIds: readonly number[];
  positions: readonly number[];
}

/** A call whose prompt starts with everything so far continues it, any other starts anew, as the trainer has it: every sampled token is there once. Pure. */
export function sampledSequences(calls: readonly Pick<SampledCall, "promptTokenIds" | "completionTokenIds">[]): SampledSequence[] {
  const sequences: SampledSequence[] = [];
  for (const { promptTokenIds, completionTokenIds } of calls) {
    const last = sequences.at(-1);
    const continues = last !== undefined && last.tokenIds.every((id, index) => promptTokenIds[index] === id);
    const before = continues ? (sequences.pop()?.positions ?? []) : [];
    sequences.push({
      tokenIds: [...promptTokenIds, ...completionTokenIds],
      positions: [...before, ...completionTokenIds.map((_, index) => promptTokenIds.length + index)],
    });
  }
  return sequences;
}

const ATTEMPTS = 5;

/**
 * Scores one rollout of the candidate by all three policies on the same server, at temperature 1: the sampled logprobs are those after production's temperature, which a server gives for no
 * prompt. One call at a time: a server holds the logits of a whole prompt, or of a chunk of it, for these. Null where a server would not score it, or is away.
 * Rejects only when `signal` aborts.
 */
export async function scoreRollout(
  calls: readonly SampledCall[],
  arms: Arms,
  { policyServer, cacheSalt, signal }: { policyServer: PolicyServer; cacheSalt: string; signal: AbortSignal },
): Promise<KlSums | null> {
  const sums: KlSums = { tokens: 0, toStable: 0, toBase: 0 };
  for (const { tokenIds, positions } of sampledSequences(calls)) {
    const score = (model: string) => logprobsAt({ model, promptTokenIds: tokenIds, cacheSalt }, positions, { policyServer, signal });
    const candidate = await score(arms.candidate);
    const base = candidate === null ? null : await score(arms.base);
    const stable = base === null || arms.stable === arms.base ? base : await score(arms.stable);
    if (candidate === null || base === null || stable === null) return null;
    sums.tokens += positions.length;
    sums.toStable += sumOf(candidate) - sumOf(stable);
    sums.toBase += sumOf(candidate) - sumOf(base);
  }
  // A sum that is no number would be none in the stored step either, and pull the mean towards 0.
  return Number.isFinite(sums.toStable + sums.toBase) ? sums : null;
}

async function logprobsAt(
  request: { model: string; promptTokenIds: readonly number[]; cacheSalt: string },
  positions: readonly number[],
  { policyServer, signal }: { policyServer: PolicyServer; signal: AbortSignal },
): Promise<readonly number[] | null> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const result = await policyServer.promptLogprobs(request, { signal });
    if (result.status === "completed") return positions.map((position) => result.logprobs[position] ?? Number.NaN);
    if (result.status === "rejected") return null;
    if (attempt < ATTEMPTS) await sleep(result.retryAfterMs, undefined, { signal });
  }
  return null;
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

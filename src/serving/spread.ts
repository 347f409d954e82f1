import { nightshiftError } from "../errors.ts";
import type { PolicyServer } from "./policy-server.ts";

const NONE_RETRY_MS = 1_000;

/**
 * Several replicas of one agent as one PolicyServer for rollouts: calls take turns, and production's go before them where `priority` is above 0. Loading and unloading stays with
 * each replica's adapter agent, so those methods, and `models`, speak of the first replica only.
 * @param replicas Those that may answer for a model now; while there are none, calls are to be tried again.
 */
export function spreadCalls(
  replicas: (model: string | null) => readonly PolicyServer[],
  { priority = 0 }: { priority?: number } = {},
): PolicyServer {
  let turn = 0;
  const next = (model: string): PolicyServer | undefined => {
    const able = replicas(model);
    return able[turn++ % able.length];
  };
  const first = (): PolicyServer | undefined => replicas(null)[0];
  const nobody = () => ({
    status: "retryable" as const,
    retryAfterMs: NONE_RETRY_MS,
    error: nightshiftError("policy_server_unavailable", { url: "any replica", problem: "there is none" }),
  });
  return {
    chat: (request, options) => next(request.model)?.chat({ ...request, priority }, options) ?? Promise.resolve(nobody()),
    promptLogprobs: (request, options) => next(request.model)?.promptLogprobs(request, options) ?? Promise.resolve(nobody()),
    models: (options) => first()?.models(options) ?? Promise.resolve(null),
    loadAdapter: (adapter, options) => first()?.loadAdapter(adapter, options) ?? Promise.resolve(nobody()),
    unloadAdapter: (name, options) => first()?.unloadAdapter(name, options) ?? Promise.resolve(),
  };
}

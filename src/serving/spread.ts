import type { PolicyServer } from "./policy-server.ts";

/**
 * Several replicas of one agent as one PolicyServer for rollouts: calls take turns, and production's go before them where `priority` is above 0. Loading and unloading stays with
 * each replica's adapter agent, so those methods, and `models`, speak of the first replica only.
 */
export function spreadCalls(replicas: readonly PolicyServer[], { priority = 0 }: { priority?: number } = {}): PolicyServer {
  const [first] = replicas;
  if (first === undefined) throw new RangeError("an agent without a policy server cannot roll out");
  let turn = 0;
  const next = (): PolicyServer => replicas[turn++ % replicas.length] ?? first;
  return {
    chat: (request, options) => next().chat({ ...request, priority }, options),
    promptLogprobs: (request, options) => next().promptLogprobs({ ...request, priority }, options),
    models: (options) => first.models(options),
    loadAdapter: (adapter, options) => first.loadAdapter(adapter, options),
    unloadAdapter: (name, options) => first.unloadAdapter(name, options),
  };
}

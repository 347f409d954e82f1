import { createRandom, type Random } from "../../deploy/quickstart/random.ts";
import { nightshiftError } from "../../src/errors.ts";
import type { ChatRequest, ChatResult, PolicyServer } from "../../src/serving/policy-server.ts";

/** What a scripted policy does in one turn: calls, or a reply (of one token, with this logprob). */
export type Move = { calls: readonly { tool: string; args: unknown }[] } | { reply: string; logprob?: number } | { result: ChatResult };

/**
 * A policy server whose reply is a function of the request alone (messages and seed), with tool-call ids as random as real servers' are. Replies take
 * a while that differs from call to call, so that concurrent members finish out of order. `score` is what a model says of a token of a prompt: all say the same unless told.
 */
export function createScriptedPolicy(
  script: (request: ChatRequest, random: Random) => Move,
  score: (model: string, tokenId: number) => number = () => -0.5,
): PolicyServer & { requests: ChatRequest[]; scored: string[]; inFlightAtMost: () => number } {
  const requests: ChatRequest[] = [];
  const scored: string[] = [];
  let inFlight = 0;
  let most = 0;
  let ids = 0;
  const unused = (): never => {
    throw new Error("rollouts and their scoring need no more");
  };
  return {
    requests,
    scored,
    inFlightAtMost: () => most,
    async chat(request) {
      requests.push(request);
      inFlight += 1;
      most = Math.max(most, inFlight);
      for (let turn = requests.length % 5; turn >= 0; turn -= 1) await new Promise((resolve) => setImmediate(resolve));
      inFlight -= 1;
      const move = script(request, createRandom(request.sampling.seed, request.messages.length));
      if ("result" in move) return move.result;
      const logprobs = [("reply" in move ? move.logprob : undefined) ?? -0.5];
      const tokens = { promptTokenIds: [1, request.messages.length], completionTokenIds: [2], logprobs };
      if ("reply" in move)
        return { status: "completed", message: { role: "assistant", content: move.reply }, finishReason: "stop", ...tokens };
      const tool_calls = move.calls.map(({ tool, args }) => {
        ids += 1;
        const text = typeof args === "string" ? args : JSON.stringify(args);
        return { id: `chatcmpl-${ids}`, type: "function" as const, function: { name: tool, arguments: text } };
      });
      return { status: "completed", message: { role: "assistant", content: "", tool_calls }, finishReason: "tool_calls", ...tokens };
    },
    promptLogprobs({ model, promptTokenIds }) {
      scored.push(model);
      return Promise.resolve({ status: "completed", logprobs: promptTokenIds.map((id, index) => (index === 0 ? null : score(model, id))) });
    },
    models: unused,
    loadAdapter: unused,
    unloadAdapter: unused,
  };
}

type Failure = Exclude<ChatResult, { status: "completed" }>;

export const retryable: Failure = {
  status: "retryable",
  retryAfterMs: 0,
  error: nightshiftError("store_unavailable", { problem: "stands for any server's" }),
};

export const gone: Failure = {
  status: "rejected",
  error: nightshiftError("policy_server_refused", {
    url: "http://localhost",
    path: "/v1/chat/completions",
    status: 404,
    problem: "no such model",
  }),
};

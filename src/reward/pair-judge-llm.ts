import { createHash } from "node:crypto";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import type { Rollout } from "../rollout/group.ts";
import { sourcesOf } from "../rollout/sources.ts";
import { createJudgeClient, type Answer, type JudgeClient, type JudgeDeps, type LlmJudgeConfig } from "./judge-client.ts";
import { combineOrders, type Winner } from "./pair-orders.ts";
import type { PairJudge, PairResult } from "./pair-judge.ts";
import { attemptsText, distinctMembers } from "./attempts-text.ts";
import { readObject } from "./ruler.ts";

/** Changes with every change of the words below. */
const PAIR_RUBRIC_VERSION = "pair-1";
const MAX_PROMPT_TOKENS = 16_000;
const MAX_OUTPUT_TOKENS = 300;

const RUBRIC = `You compare two attempts of an AI agent at the same task and say which one served the user better.
What the agent was meant to achieve, you infer from its instructions and from what the user asked for. Reaching the goal decides first, doing no harm on the way second, doing it without waste third. Where you would not bet on either, it is a tie.
The order of the two means nothing.`;

const REPLY = `Reply with one JSON object and nothing else: {"winner": "first" | "second" | "tie", "explanation": "<at most 20 words>"}`;

const replySchema = z.strictObject({ winner: z.enum(["first", "second", "tie"]), explanation: z.string() });
const REPLY_SCHEMA = z.toJSONSchema(replySchema, { target: "draft-7" }) as Record<string, unknown>;

/**
 * An LLM that compares blind, once in each order. Equal attempts are a tie without a call. Same bounds, cache and errors as the RULER judge.
 * @throws NightshiftError `judge_key_unreadable` when created
 */
export function createLlmPairJudge(config: LlmJudgeConfig, deps: JudgeDeps): PairJudge {
  const client = createJudgeClient(config, deps, "gate");
  return {
    async compare({ scenarioId, candidate, stable, runId = null }, options = {}) {
      const base = { driver: "llm", model: config.model, rubricVersion: PAIR_RUBRIC_VERSION };
      if (distinctMembers([candidate, stable]).length === 1) {
        const provenance = { ...base, promptHash: "", inputTokens: 0, outputTokens: 0, cost: 0, cached: false };
        return { status: "compared", x: 0.5, firstSlotWins: 0, ordersAgree: true, provenance };
      }
      const [candidateFirst, stableFirst] = await Promise.all([
        askOne({ scenarioId, runId }, [candidate, stable], client, options.signal),
        askOne({ scenarioId, runId }, [stable, candidate], client, options.signal),
      ]);
      if (candidateFirst.status !== "answered") return candidateFirst;
      if (stableFirst.status !== "answered") return stableFirst;
      return {
        status: "compared",
        ...combineOrders({ candidateFirst: candidateFirst.value, stableFirst: stableFirst.value }),
        provenance: {
          ...base,
          promptHash: candidateFirst.hash,
          inputTokens: candidateFirst.inputTokens + stableFirst.inputTokens,
          outputTokens: candidateFirst.outputTokens + stableFirst.outputTokens,
          cost: candidateFirst.cost === null || stableFirst.cost === null ? null : candidateFirst.cost + stableFirst.cost,
          cached: candidateFirst.cached && stableFirst.cached,
        },
      };
    },
  };
}

type Compared = Extract<Answer<Winner>, { status: "answered" }> & { hash: string };

async function askOne(
  { scenarioId, runId }: { scenarioId: string; runId: string | null },
  members: readonly [Rollout, Rollout],
  client: JudgeClient,
  signal?: AbortSignal,
): Promise<Compared | Exclude<PairResult, { status: "compared" }>> {
  const attempts = attemptsText(
    members.map((member, index) => ({ id: index === 0 ? "first" : "second", member })),
    [],
    { seed: scenarioId, maxPromptTokens: MAX_PROMPT_TOKENS },
  );
  if (attempts === null) {
    return { status: "rejected", error: nightshiftError("judge_input_too_large", { group: scenarioId, maxTokens: MAX_PROMPT_TOKENS }) };
  }
  const system = `${RUBRIC}\n\n${attempts.fence}\n\n${REPLY}`;
  const answer = await client.ask<Winner>(
    {
      ...{ system, user: attempts.text, schema: REPLY_SCHEMA, maxOutputTokens: MAX_OUTPUT_TOKENS, runId },
      sources: sourcesOf(scenarioId, members),
      parse: parseWinner,
    },
    signal === undefined ? {} : { signal },
  );
  if (answer.status !== "answered") return answer;
  return {
    ...answer,
    hash: createHash("sha256")
      .update(JSON.stringify([system, attempts.text]))
      .digest("hex"),
  };
}

function parseWinner(text: string): { ok: true; value: Winner } | { ok: false; problem: string } {
  const parsed = replySchema.safeParse(readObject(text));
  if (parsed.success) return { ok: true, value: parsed.data.winner };
  return { ok: false, problem: 'it is not {"winner": "first" | "second" | "tie", "explanation": "…"}' };
}

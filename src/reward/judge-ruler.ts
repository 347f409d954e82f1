import { nightshiftError } from "../errors.ts";
import type { TrajectoryGroup } from "../rollout/group.ts";
import { sourcesOfGroup } from "../rollout/sources.ts";
import type { JudgedMember } from "./attempts-text.ts";
import { contestOf, scoresOf, type Contest, type Pass } from "./contest.ts";
import type { JudgeRole } from "./client/budget.ts";
import { createJudgeClient, type Answer, type JudgeClient, type JudgeDeps, type LlmJudgeConfig } from "./judge-client.ts";
import type { Judge, JudgeResult } from "./judge.ts";
import { parseReply, REPLY_SCHEMA, rubricVersionOf, rulerPrompt, type Rubric, type RulerPrompt } from "./ruler.ts";

const MAX_PROMPT_TOKENS = 24_000;
const OUTPUT_TOKENS_PER_MEMBER = 120;
/** Scores this close may be a tie that only the order of the attempts would break. */
const NEAR_TIE = 0.02;
const MOST_PASSES = 2;

/**
 * RULER: an LLM compares the members of a group and scores each from 0 to 1. Distinct, unmasked members are shown in a seeded order; where two of them come out
 * (almost) equal, a second pass in another order decides with the mean. Equal prompts are answered from the cache, so rewards reproduce with the network off.
 * @param as whose budget of a run it draws on, and what it asks
 * @throws NightshiftError `judge_key_unreadable` when created
 */
export function createRulerJudge(
  config: LlmJudgeConfig,
  deps: JudgeDeps,
  as: { role: JudgeRole; rubric: Rubric } = { role: "reward", rubric: "ruler" },
): Judge {
  const client = createJudgeClient(config, deps, as.role);
  return {
    async score(group, { signal, anchor = null, repeat = 0 } = {}) {
      const contest = contestOf(group.members, anchor);
      if ("status" in contest) return contest;
      const pass = 1 + MOST_PASSES * repeat;
      const first = await ask(group, contest.attempts, pass, { client, rubric: as.rubric }, signal);
      if (first.status !== "answered") return first;
      const second = hasNearTie(first.answer.value.scores)
        ? await ask(group, contest.attempts, pass + 1, { client, rubric: as.rubric }, signal)
        : null;
      if (second?.status === "retryable") return second;
      // A second pass that was refused, for the budget or for good, leaves the first: `passes` says so.
      return toResult(contest, second?.status === "answered" ? [first, second] : [first], {
        model: config.model,
        rubricVersion: rubricVersionOf(as.rubric),
      });
    },
  };
}

type Answered = { status: "answered"; prompt: RulerPrompt; answer: Extract<Answer<Pass>, { status: "answered" }> };

async function ask(
  group: TrajectoryGroup,
  attempts: readonly JudgedMember[],
  pass: number,
  { client, rubric }: { client: JudgeClient; rubric: Rubric },
  signal?: AbortSignal,
): Promise<Answered | Exclude<Answer<Pass>, { status: "answered" }>> {
  const seed = `${group.groupId}/${pass}`;
  const prompt = rulerPrompt(attempts, group.tools, { seed, maxPromptTokens: MAX_PROMPT_TOKENS, rubric });
  if (prompt === null) {
    return { status: "rejected", error: nightshiftError("judge_input_too_large", { group: group.groupId, maxTokens: MAX_PROMPT_TOKENS }) };
  }
  const answer = await client.ask<Pass>(
    {
      ...{ system: prompt.system, user: prompt.user, schema: REPLY_SCHEMA, runId: group.runId },
      sources: sourcesOfGroup(group),
      maxOutputTokens: 200 + OUTPUT_TOKENS_PER_MEMBER * attempts.length,
      parse: (text) => {
        const parsed = parseReply(text, prompt.labels);
        return parsed.ok ? { ok: true, value: { scores: parsed.scores, explanations: parsed.explanations } } : parsed;
      },
    },
    signal === undefined ? {} : { signal },
  );
  return answer.status === "answered" ? { status: "answered", prompt, answer } : answer;
}

function hasNearTie(scores: readonly number[]): boolean {
  const sorted = scores.toSorted((a, b) => a - b);
  return sorted.some((score, index) => index > 0 && score - (sorted[index - 1] ?? 0) < NEAR_TIE);
}

function toResult(contest: Contest, passes: readonly [Answered, ...Answered[]], of: { model: string; rubricVersion: string }): JudgeResult {
  const answers = passes.map(({ answer }) => answer);
  const costs = answers.map(({ cost }) => cost).filter((cost) => cost !== null);
  return {
    status: "scored",
    ...scoresOf(
      contest,
      answers.map(({ value }) => value),
    ),
    provenance: {
      ...{ driver: "ruler", ...of, promptHash: passes[0].prompt.hash },
      inputTokens: answers.reduce((sum, { inputTokens }) => sum + inputTokens, 0),
      outputTokens: answers.reduce((sum, { outputTokens }) => sum + outputTokens, 0),
      cost: costs.length === 0 ? null : costs.reduce((sum, cost) => sum + cost, 0),
      cached: answers.every(({ cached }) => cached),
      passes: passes.length,
      elided: passes.some(({ prompt }) => prompt.elided),
    },
  };
}

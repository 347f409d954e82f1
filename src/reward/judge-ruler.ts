import { nightshiftError } from "../errors.ts";
import type { TrajectoryGroup } from "../rollout/group.ts";
import { sourcesOfGroup } from "../rollout/sources.ts";
import { createJudgeClient, type Answer, type JudgeClient, type JudgeDeps, type LlmJudgeConfig } from "./judge-client.ts";
import type { Judge, JudgeResult } from "./judge.ts";
import { parseReply, REPLY_SCHEMA, rulerPrompt, RUBRIC_VERSION, type RulerPrompt } from "./ruler.ts";
import { distinctMembers, type JudgedMember } from "./attempts-text.ts";

const MAX_PROMPT_TOKENS = 24_000;
const OUTPUT_TOKENS_PER_MEMBER = 120;
/** Scores this close may be a tie that only the order of the attempts would break. */
const NEAR_TIE = 0.02;

interface Pass {
  scores: number[];
  explanations: string[];
}

/**
 * RULER: an LLM compares the members of a group and scores each from 0 to 1. Distinct, unmasked members are shown in a seeded order; where two of them come out
 * (almost) equal, a second pass in another order decides with the mean. Equal prompts are answered from the cache, so rewards reproduce with the network off.
 * @throws NightshiftError `judge_key_unreadable` when created
 */
export function createRulerJudge(config: LlmJudgeConfig, deps: JudgeDeps): Judge {
  const client = createJudgeClient(config, deps);
  return {
    async score(group, options = {}) {
      const classes = distinctMembers(group.members);
      const shown = classes.reduce((sum, { length }) => sum + length, 0);
      if (shown < 2) return { status: "no_signal", reason: "too_few_members" };
      if (classes.length < 2) return { status: "no_signal", reason: "identical_members" };
      const members = classes.flatMap(([first]) => group.members[first ?? -1] ?? []);
      const first = await ask(group, members, 1, client, options.signal);
      if (first.status !== "answered") return first;
      const { prompt, answer } = first;
      const second = hasNearTie(answer.value.scores) ? await ask(group, members, 2, client, options.signal) : null;
      if (second?.status === "retryable") return second;
      const passes = [answer, ...(second?.status === "answered" ? [second.answer] : [])];
      return toResult(group, classes, passes, { model: config.model, promptHash: prompt.hash });
    },
  };
}

type Asked =
  | { status: "answered"; prompt: RulerPrompt; answer: Extract<Answer<Pass>, { status: "answered" }> }
  | Exclude<Answer<Pass>, { status: "answered" }>;

async function ask(
  group: TrajectoryGroup,
  members: readonly JudgedMember[],
  pass: number,
  client: JudgeClient,
  signal?: AbortSignal,
): Promise<Asked> {
  const prompt = rulerPrompt(members, group.tools, { seed: `${group.groupId}/${pass}`, maxPromptTokens: MAX_PROMPT_TOKENS });
  if (prompt === null) {
    return { status: "rejected", error: nightshiftError("judge_input_too_large", { group: group.groupId, maxTokens: MAX_PROMPT_TOKENS }) };
  }
  const answer = await client.ask<Pass>(
    {
      ...{ system: prompt.system, user: prompt.user, schema: REPLY_SCHEMA, runId: group.runId },
      sources: sourcesOfGroup(group),
      maxOutputTokens: 200 + OUTPUT_TOKENS_PER_MEMBER * members.length,
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

function toResult(
  group: TrajectoryGroup,
  classes: readonly number[][],
  passes: readonly Extract<Answer<Pass>, { status: "answered" }>[],
  judge: { model: string; promptHash: string },
): JudgeResult {
  const classOf = new Map(classes.flatMap((members, index) => members.map((member) => [member, index] as const)));
  const mean = (index: number) => passes.reduce((sum, { value }) => sum + (value.scores[index] ?? 0), 0) / passes.length;
  const perMember = <T>(pick: (index: number) => T): (T | null)[] =>
    group.members.map((_, member) => {
      const index = classOf.get(member);
      return index === undefined ? null : pick(index);
    });
  return {
    status: "scored",
    rewards: perMember(mean),
    explanations: perMember((index) => passes[0]?.value.explanations[index] ?? ""),
    provenance: {
      driver: "ruler",
      ...judge,
      rubricVersion: RUBRIC_VERSION,
      inputTokens: passes.reduce((sum, pass) => sum + pass.inputTokens, 0),
      outputTokens: passes.reduce((sum, pass) => sum + pass.outputTokens, 0),
      cached: passes.every(({ cached }) => cached),
    },
  };
}

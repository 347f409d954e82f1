import { nightshiftError, type NightshiftError } from "../../errors.ts";
import type { ToolDefinition } from "../../trace/message.ts";
import type { JudgedMember } from "../attempts-text.ts";
import type { JudgeClient } from "../judge-client.ts";
import { parseReply, REPLY_SCHEMA, rulerPrompt } from "../ruler.ts";
import type { ScriptedModule } from "../scripted-module.ts";

/** Distinct attempts at one task that a person has labelled. */
export interface JudgedLabel {
  /** Stable for equal attempts: the cache and the drawn orders hang on it. */
  id: string;
  members: readonly JudgedMember[];
  tools: readonly ToolDefinition[];
  /** Whose text is in it (rollout/sources.ts). */
  sources: readonly string[];
}

export type PassResult =
  /** `scores` in the order of the label's members. */
  | { status: "scored"; scores: number[]; inputTokens: number; outputTokens: number; cached: boolean }
  | { status: "retryable"; retryAfterMs: number; error: NightshiftError }
  | { status: "rejected"; error: NightshiftError };

/** One question to a judge, with the attempts in an order that the caller chooses: what a calibration measures habits with. */
export interface JudgePasses {
  /**
   * @param at `order[slot]` is the member shown there; `repeat` makes equal questions different ones for the cache; tokens are on `runId`'s budget. Rejects only when `signal` aborts.
   */
  ask(label: JudgedLabel, at: { order: readonly number[]; repeat: number; runId: string }, signal: AbortSignal): Promise<PassResult>;
}

const MAX_PROMPT_TOKENS = 24_000;
const OUTPUT_TOKENS_PER_MEMBER = 120;

export function createRulerPasses(client: JudgeClient): JudgePasses {
  return {
    async ask({ id, members, tools, sources }, { order, repeat, runId }, signal) {
      const seed = `${id}/${repeat}`;
      const arranged = arrangedFor(order, drawnOrder(seed, members.length));
      const shown = arranged.flatMap((index) => members[index] ?? []);
      const prompt = rulerPrompt(shown, tools, { seed, maxPromptTokens: MAX_PROMPT_TOKENS });
      if (prompt === null)
        return { status: "rejected", error: nightshiftError("judge_input_too_large", { group: id, maxTokens: MAX_PROMPT_TOKENS }) };
      const answer = await client.ask<number[]>(
        {
          ...{ system: prompt.system, user: prompt.user, schema: REPLY_SCHEMA, sources, runId },
          maxOutputTokens: 200 + OUTPUT_TOKENS_PER_MEMBER * members.length,
          parse: (text) => {
            const parsed = parseReply(text, prompt.labels);
            return parsed.ok ? { ok: true, value: parsed.scores } : parsed;
          },
        },
        { signal },
      );
      if (answer.status !== "answered") return answer;
      const { value, inputTokens, outputTokens, cached } = answer;
      const scores = members.map((_, member) => value[arranged.indexOf(member)] ?? 0);
      return { status: "scored", scores, inputTokens, outputTokens, cached };
    },
  };
}

/** A scripted judge is asked as it is: what it makes of the order is what it makes of the order. */
export function createScriptedPasses(module: ScriptedModule): JudgePasses {
  return {
    async ask({ members }, { order }, signal) {
      signal.throwIfAborted();
      const given = module.scoreGroup(order.flatMap((index) => members[index] ?? []));
      const scores = members.map((_, member) => given[order.indexOf(member)] ?? null);
      if (!scores.every((score) => score !== null)) {
        const problem = "scoreGroup gave no score for an attempt";
        return { status: "rejected", error: nightshiftError("judge_module_invalid", { module: module.name, problem }) };
      }
      return { status: "scored", scores, inputTokens: 0, outputTokens: 0, cached: false };
    },
  };
}

/** The order that `rulerPrompt` draws for a seed: `drawn[slot]` is the place in its list of the member that is shown there. */
function drawnOrder(seed: string, count: number): number[] {
  const blanks = Array.from({ length: count }, (): JudgedMember => ({ messages: [], end: { status: "completed" } }));
  return [...(rulerPrompt(blanks, [], { seed, maxPromptTokens: MAX_PROMPT_TOKENS })?.labels.values() ?? [])];
}

/** The list that comes out as `order` when it is drawn as `drawn`. */
function arrangedFor(order: readonly number[], drawn: readonly number[]): number[] {
  const arranged: number[] = [];
  for (const [slot, place] of drawn.entries()) arranged[place] = order[slot] ?? 0;
  return arranged;
}

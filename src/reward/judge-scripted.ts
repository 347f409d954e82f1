import { createHash } from "node:crypto";
import { nightshiftError } from "../errors.ts";
import { contestOf, scoresOf } from "./contest.ts";
import type { Judge } from "./judge.ts";
import type { ScriptedModule } from "./scripted-module.ts";

/** A deterministic judge for tests and the quickstart. Every score says `driver: "scripted"`. */
export function createScriptedJudge(module: ScriptedModule): Judge {
  return {
    async score(group, options = {}) {
      options.signal?.throwIfAborted();
      const contest = contestOf(group.members, options.anchor);
      if ("status" in contest) return contest;
      const { attempts } = contest;
      const scores = module.scoreGroup(attempts);
      if (scores.length !== attempts.length || !scores.every(isScore)) {
        const problem = `scoreGroup gave ${JSON.stringify(scores).slice(0, 200)} for ${attempts.length} members`;
        return { status: "rejected", error: nightshiftError("judge_module_invalid", { module: module.name, problem }) };
      }
      const words = module.explainGroup?.(attempts) ?? [];
      const promptHash = createHash("sha256")
        .update(JSON.stringify(attempts.map(({ messages, end }) => [messages, end])))
        .digest("hex");
      return {
        status: "scored",
        ...scoresOf(contest, [{ scores, explanations: attempts.map((_, place) => words[place] ?? "") }]),
        provenance: {
          ...{ driver: "scripted", model: module.name, rubricVersion: module.judgeRubric, promptHash },
          ...{ inputTokens: 0, outputTokens: 0, cost: 0, cached: false, passes: 1, elided: false },
        },
      };
    },
  };
}

function isScore(score: number | null): score is number {
  return score !== null && score >= 0 && score <= 1;
}

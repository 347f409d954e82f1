import { createHash } from "node:crypto";
import { nightshiftError } from "../errors.ts";
import type { Judge } from "./judge.ts";
import { distinctMembers } from "./attempts-text.ts";
import type { ScriptedModule } from "./scripted-module.ts";

/** A deterministic judge for tests and the quickstart. Every score says `driver: "scripted"`. */
export function createScriptedJudge(module: ScriptedModule): Judge {
  return {
    async score(group, options = {}) {
      options.signal?.throwIfAborted();
      const classes = distinctMembers(group.members);
      if (classes.flat().length < 2) return { status: "no_signal", reason: "too_few_members" };
      if (classes.length < 2) return { status: "no_signal", reason: "identical_members" };
      const members = classes.flatMap(([first]) => group.members[first ?? -1] ?? []);
      const scores = module.scoreGroup(members);
      if (scores.length !== members.length || !scores.every((score) => score !== null && score >= 0 && score <= 1)) {
        const problem = `scoreGroup gave ${JSON.stringify(scores).slice(0, 200)} for ${members.length} members`;
        return { status: "rejected", error: nightshiftError("judge_module_invalid", { module: module.name, problem }) };
      }
      const explanations = module.explainGroup?.(members) ?? [];
      const rewards: (number | null)[] = group.members.map(() => null);
      const words: (string | null)[] = group.members.map(() => null);
      for (const [index, same] of classes.entries()) {
        for (const member of same) {
          rewards[member] = scores[index] ?? null;
          words[member] = explanations[index] ?? null;
        }
      }
      const provenance = { driver: "scripted", model: module.name, rubricVersion: module.judgeRubric, inputTokens: 0, outputTokens: 0 };
      const promptHash = createHash("sha256")
        .update(JSON.stringify(members.map(({ messages, end }) => [messages, end])))
        .digest("hex");
      return { status: "scored", rewards, explanations: words, provenance: { ...provenance, promptHash, cached: false } };
    },
  };
}

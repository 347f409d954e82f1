import { createHash } from "node:crypto";
import { nightshiftError } from "../errors.ts";
import { combineOrders, type Winner } from "./pair-orders.ts";
import type { PairJudge } from "./pair-judge.ts";
import type { JudgedMember } from "./attempts-text.ts";
import type { ScriptedModule } from "./scripted-module.ts";

/** A deterministic pair judge for tests and the quickstart, asked in both orders like any other. Every result says `driver: "scripted"`. */
export function createScriptedPairJudge(module: ScriptedModule): PairJudge {
  const winner = (first: JudgedMember, second: JudgedMember): Winner | undefined => WINNERS[module.comparePair(first, second)];
  return {
    async compare({ candidate, stable }, options = {}) {
      options.signal?.throwIfAborted();
      const orders = [winner(candidate, stable), winner(stable, candidate)] as const;
      const [candidateFirst, stableFirst] = orders;
      if (candidateFirst === undefined || stableFirst === undefined) {
        const problem = "comparePair gave something else than 0, 0.5 or 1";
        return { status: "rejected", error: nightshiftError("judge_module_invalid", { module: module.name, problem }) };
      }
      const promptHash = createHash("sha256")
        .update(JSON.stringify([candidate, stable].map(({ messages, end }) => [messages, end])))
        .digest("hex");
      return {
        status: "compared",
        ...combineOrders({ candidateFirst, stableFirst }),
        provenance: {
          ...{ driver: "scripted", model: module.name, rubricVersion: module.pairRubric, promptHash },
          ...{ inputTokens: 0, outputTokens: 0, cost: 0, cached: false },
        },
      };
    },
  };
}

const WINNERS: Record<number, Winner> = { 1: "first", 0.5: "tie", 0: "second" };

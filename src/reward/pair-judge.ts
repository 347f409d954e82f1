import type { NightshiftError } from "../errors.ts";
import type { Rollout } from "../rollout/group.ts";
import type { JudgeProvenance } from "./judge.ts";

export type PairResult =
  /** X seen from `candidate`: 1 it is better, 0 stable is better, ½ neither, or the two orders disagree. */
  | { status: "compared"; x: 0 | 0.5 | 1; firstSlotWins: 0 | 1 | 2; ordersAgree: boolean; provenance: JudgeProvenance }
  | { status: "retryable"; retryAfterMs: number; error: NightshiftError }
  | { status: "rejected"; error: NightshiftError };

export interface Pair {
  scenarioId: string;
  candidate: Rollout;
  stable: Rollout;
  /** Whose budget the questions are on; none where it is left out. */
  runId?: string;
}

/** Compares two rollouts of one scenario, blind, in both orders. Another judge than the one that rewards. */
export interface PairJudge {
  /** Resolves to one result; rejects only when `signal` aborts. */
  compare(pair: Pair, options?: { signal?: AbortSignal }): Promise<PairResult>;
}

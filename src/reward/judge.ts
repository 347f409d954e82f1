import type { NightshiftError } from "../errors.ts";
import type { TrajectoryGroup } from "../rollout/group.ts";

/** Who scored, with what, at which cost: kept with every reward. */
export interface JudgeProvenance {
  /** "ruler" or "scripted"; a scripted judge is labelled as such in every output. */
  driver: string;
  model: string;
  rubricVersion: string;
  promptHash: string;
  inputTokens: number;
  outputTokens: number;
  cached: boolean;
}

export type JudgeResult =
  /** `rewards` in the order and length of group.members; null for a masked member. `explanations` likewise. */
  | { status: "scored"; rewards: readonly (number | null)[]; explanations: readonly (string | null)[]; provenance: JudgeProvenance }
  /** Fewer than two distinct unmasked members: no call was made. */
  | { status: "no_signal"; reason: "too_few_members" | "identical_members" }
  | { status: "retryable"; retryAfterMs: number; error: NightshiftError }
  | { status: "rejected"; error: NightshiftError };

/** Scores one trajectory group. Must be safe to call twice with the same group. */
export interface Judge {
  /** Resolves to one result; rejects only when `signal` aborts. */
  score(group: TrajectoryGroup, options?: { signal?: AbortSignal }): Promise<JudgeResult>;
}

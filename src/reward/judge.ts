import type { NightshiftError } from "../errors.ts";
import type { TrajectoryGroup } from "../rollout/group.ts";
import type { JudgedMember } from "./attempts-text.ts";

/** Who judged, with what, at which cost: kept with every result. */
export interface JudgeProvenance {
  /** "ruler" or "scripted"; a scripted judge is labelled as such in every output. */
  driver: string;
  model: string;
  rubricVersion: string;
  /** sha256 of what the judge was shown first; further passes show the same in an order that follows from the group's id. */
  promptHash: string;
  inputTokens: number;
  outputTokens: number;
  /** These tokens at the configured prices, in their currency; null without prices. */
  cost: number | null;
  /** Every reply came from the cache: nothing was paid this time. */
  cached: boolean;
}

export interface ScoreProvenance extends JudgeProvenance {
  /** How often the judge was asked about the group: again, in another order, where the first scores were (nearly) tied. */
  passes: number;
  /** Some text was cut in the middle to fit the judge's prompt. */
  elided: boolean;
}

/** Scores of a group, in the order and length of group.members; null for a masked member. */
export interface Scores {
  /** Means over the passes, in [0, 1]. Identical members have the same. */
  rewards: readonly (number | null)[];
  /** Largest less smallest score over the passes; null where there was one pass only, too. */
  spreads: readonly (number | null)[];
  explanations: readonly (string | null)[];
  /** The anchor's own score, where one was given. */
  anchor: { reward: number; spread: number | null; explanation: string } | null;
}

export type JudgeResult =
  | ({ status: "scored"; provenance: ScoreProvenance } & Scores)
  /** Fewer than two distinct unmasked members: no call was made. */
  | { status: "no_signal"; reason: "too_few_members" | "identical_members" }
  | { status: "retryable"; retryAfterMs: number; error: NightshiftError }
  | { status: "rejected"; error: NightshiftError };

export interface ScoreOptions {
  signal?: AbortSignal;
  /** What production did in the same situation: judged among the members as if it were one, in no member's place. */
  anchor?: JudgedMember | null;
  /** From 1: asks over again, in orders that no lower number has. Absent or 0 is the score that counts. */
  repeat?: number;
}

/** Scores one trajectory group. Must be safe to call twice with the same group. */
export interface Judge {
  /** Resolves to one result; rejects only when `signal` aborts, or the database is away. */
  score(group: TrajectoryGroup, options?: ScoreOptions): Promise<JudgeResult>;
}

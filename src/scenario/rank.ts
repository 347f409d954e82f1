import { hash } from "node:crypto";
import type { FeedbackValue } from "../trajectory/feedback.ts";
import type { TapeEntry } from "../trajectory/tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";

/** What somebody said about a conversation. `value` false, a number below 0.5, or a better answer is negative. */
export interface ConversationFeedback {
  conversationId: string;
  value: FeedbackValue;
}

/** How an earlier group of a scenario or of its cluster went: by scenario id, else by cluster id. */
export type GroupHistory = ReadonlyMap<string, { spread: number; meanReward: number }>;

export interface RankInput {
  trajectory: Trajectory;
  entries: readonly TapeEntry[];
  scenarioId: string;
  cluster: string;
  feedback: readonly ConversationFeedback[];
  history: GroupHistory;
  nowMs: number;
  seed: number;
}

const DAY_MS = 86_400_000;

/**
 * How much a scenario promises to teach; higher is sooner. Failures and negative feedback, then groups whose members differed before (only they give a
 * gradient), then recent ones; a seeded draw below one hundredth breaks ties.
 */
export function rankOf(input: RankInput): number {
  const { trajectory, entries, feedback, history } = input;
  const negative = feedback.some(({ value }) => value === false || typeof value === "object" || (typeof value === "number" && value < 0.5));
  const failed = entries.some((entry) => entry.isError) || trajectory.finishReason === "length";
  const repeated = new Set(entries.map((entry) => entry.callKey)).size < entries.length;
  const past = history.get(input.scenarioId) ?? history.get(input.cluster);
  const age = Math.max(0, input.nowMs - trajectory.endedAtMs) / DAY_MS;
  return (negative ? 2 : 0) + (failed ? 1 : 0) + (repeated ? 0.5 : 0) + mixed(past) + 1 / (1 + age) + draw(input) / 100;
}

/** A group without spread taught nothing: it comes last when all succeeded, and gets another chance when all failed. */
export function mixed(past: { spread: number; meanReward: number } | undefined): number {
  if (past === undefined) return 0.5;
  if (past.spread < 0.05) return past.meanReward > 0.5 ? -2 : -0.5;
  return Math.min(2, past.spread * 4);
}

function draw({ seed, scenarioId }: RankInput): number {
  return Number.parseInt(hash("sha256", `rank|${seed}|${scenarioId}`).slice(0, 8), 16) / 2 ** 32;
}

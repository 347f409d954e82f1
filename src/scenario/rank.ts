import { hash } from "node:crypto";
import type { FeedbackValue } from "../trajectory/feedback.ts";
import type { Signal } from "./scenario.ts";

/** What somebody said about a conversation. `value` false, a number below 0.5, or a better answer is negative. */
export interface ConversationFeedback {
  conversationId: string;
  name: string;
  value: FeedbackValue;
}

/** How an earlier group of a scenario or of its cluster went: by scenario id, else by cluster id. */
export type GroupHistory = ReadonlyMap<string, { spread: number; meanReward: number }>;

export interface RankInput {
  /** What hints that the conversation went wrong (`signalsOf`). */
  signals: readonly Signal[];
  endedAtMs: number;
  scenarioId: string;
  cluster: string;
  history: GroupHistory;
  nowMs: number;
  seed: number;
}

const DAY_MS = 86_400_000;
/** A group with less spread than this taught nothing. */
const NO_SPREAD = 0.05;

const WEIGHTS: Readonly<Partial<Record<Signal, number>>> = {
  negative_feedback: 2,
  tool_error: 1,
  cut_off: 1,
  transfer: 1,
  user_repeats: 1,
  agent_repeats: 0.75,
  retry: 0.5,
  slow: 0.5,
};

/**
 * How much a scenario promises to teach; higher is sooner, and why. Failures and negative feedback, then groups whose members differed before (only they give a gradient), then recent ones; a
 * seeded draw below one hundredth breaks ties.
 */
export function rankOf(input: RankInput): { rank: number; selectedFor: readonly Signal[] } {
  const past = input.history.get(input.scenarioId) ?? input.history.get(input.cluster);
  const days = Math.max(0, input.nowMs - input.endedAtMs) / DAY_MS;
  // An error and an answer that was cut off are one failure.
  const isBoth = input.signals.includes("tool_error") && input.signals.includes("cut_off");
  const wrong = input.signals.reduce((sum, signal) => sum + (WEIGHTS[signal] ?? 0), 0) - (isBoth ? 1 : 0);
  const selectedFor: Signal[] = [...input.signals];
  if (past === undefined) selectedFor.push("untried");
  else if (past.spread >= NO_SPREAD) selectedFor.push("mixed_before");
  if (days < 1) selectedFor.push("recent");
  return { rank: wrong + mixed(past) + 1 / (1 + days) + draw(input) / 100, selectedFor };
}

/** A group without spread taught nothing: it comes last when all succeeded, and gets another chance when all failed. */
export function mixed(past: { spread: number; meanReward: number } | undefined): number {
  if (past === undefined) return 0.5;
  if (past.spread < NO_SPREAD) return past.meanReward > 0.5 ? -2 : -0.5;
  return Math.min(2, past.spread * 4);
}

function draw({ seed, scenarioId }: RankInput): number {
  return Number.parseInt(hash("sha256", `rank|${seed}|${scenarioId}`).slice(0, 8), 16) / 2 ** 32;
}

import type { AgentConfig } from "../config.ts";
import { textOf, type Message } from "../trace/message.ts";
import type { FeedbackValue } from "../trajectory/feedback.ts";
import type { TapeEntry } from "../trajectory/tape.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import { maskedText, similarityOf } from "./cluster.ts";
import type { Signal } from "./scenario.ts";

export interface SignalInput {
  trajectory: Trajectory;
  entries: readonly TapeEntry[];
  /** What was said about the conversation. `false`, a number below 0.5, or a better answer is negative. */
  feedback: readonly { value: FeedbackValue }[];
  /** Above this it was slow for its cluster; null where nobody can say (`slowAbove`). */
  slowAboveMs: number | null;
  transferTools: AgentConfig["scenario"]["transferTools"];
}

const SAME_QUESTION = 0.6;
const SAME_ASKED_BACK = 0.8;
const MIN_QUESTION_WORDS = 4;
const MAX_TURNS = 24;
const MIN_DURATIONS = 5;

/** What hints that a conversation went wrong, in a fixed order. Pure. */
export function signalsOf(input: SignalInput): readonly Signal[] {
  const { trajectory, entries, feedback, slowAboveMs, transferTools } = input;
  const { messages } = trajectory;
  const durationMs = ownDurationMs(trajectory);
  const signs: Readonly<Record<Exclude<Signal, "mixed_before" | "untried" | "recent" | "random">, boolean>> = {
    negative_feedback: feedback.some(
      ({ value }) => value === false || typeof value === "object" || (typeof value === "number" && value < 0.5),
    ),
    tool_error: entries.some((entry) => entry.isError),
    cut_off: trajectory.finishReason === "length",
    transfer: entries.some(({ tool }) => transferTools.includes(tool) || isTransfer(tool)),
    user_repeats: repeats(messages, "user", SAME_QUESTION),
    agent_repeats: repeats(messages, "assistant", SAME_ASKED_BACK),
    retry: new Set(entries.map((entry) => entry.callKey)).size < entries.length,
    slow: slowAboveMs !== null && durationMs !== null && durationMs > slowAboveMs,
  };
  return Object.entries(signs).flatMap(([signal, isSet]) => (isSet ? [signal as Signal] : []));
}

/** Median + 5 median absolute deviations of the conversations' durations; null for fewer than five. A cluster whose durations are all but equal is given 2 % of its median. */
export function slowAbove(trajectories: readonly Trajectory[]): number | null {
  const durations = trajectories.map(ownDurationMs).filter((duration) => duration !== null);
  if (durations.length < MIN_DURATIONS) return null;
  const centre = median(durations);
  return centre + 5 * Math.max(median(durations.map((duration) => Math.abs(duration - centre))), 0.02 * centre, 1);
}

/** How long the agent took; null where the user's own pauses are in it. */
function ownDurationMs({ messages, startedAtMs, endedAtMs }: Trajectory): number | null {
  return messages.filter(({ role }) => role === "user").length === 1 ? endedAtMs - startedAtMs : null;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** Names that frameworks and contact centres give to the call that brings a person in; `transfer_funds` is none of them. */
function isTransfer(tool: string): boolean {
  const name = tool.replace(/(\p{Ll})(\p{Lu})/gu, "$1_$2").toLowerCase();
  return /(?:^|[^a-z])(?:hand_?-?off|hand_?-?over|escalate|live_agent|human_agent|(?:transfer|connect|forward|talk)_to_(?:a_)?(?:human|agent|person|staff|support|operator|representative))/.test(
    name,
  );
}

/** Whether one of them says nearly the same thing twice: a user who was not understood, an agent that asks again. Of long conversations the first turns. */
function repeats(messages: readonly Message[], role: "user" | "assistant", atLeast: number): boolean {
  const texts = messages
    .filter((message) => message.role === role)
    .map(textOf)
    // What an agent says twice is often a courtesy; what it asks twice is not.
    .filter((text) => role === "user" || /[?？؟]/u.test(text))
    .slice(0, MAX_TURNS)
    .filter((text) => maskedText(text).split(" ").length >= MIN_QUESTION_WORDS);
  return texts.some((text, index) => texts.slice(0, index).some((earlier) => similarityOf(text, earlier) >= atLeast));
}

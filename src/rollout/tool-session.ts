import type { JournalEntry, RolloutEnd } from "./group.ts";

/** A tool call as a policy or an agent makes it: arguments as JSON text, or parsed. */
export interface ToolRequest {
  tool: string;
  arguments: unknown;
}

export interface ToolResult {
  text: string;
  isError: boolean;
}

/** The answers to one turn's calls, in order. Where the rollout ends at a call, `end` is set and `results` are those of the calls before it. */
export interface TurnAnswers {
  results: readonly ToolResult[];
  end: RolloutEnd | null;
}

/** Where the tool calls of one rollout go. Replay answers them from tapes (`replay-session.ts`), a sandbox live (`live/live-session.ts`). */
export interface ToolSession {
  /**
   * Answers what one turn of the agent asks for; turns come one after another. Where a turn's calls come one by one, each with the whole turn as `block`: what
   * raced in production is known by the set. Rejects only when `signal` aborts.
   */
  answer(turn: readonly ToolRequest[], options?: { signal?: AbortSignal; block?: readonly ToolRequest[] }): Promise<TurnAnswers>;
  /** Every answer so far and where it came from. */
  journal(): readonly JournalEntry[];
  /** Time that the tools took so far, by the recordings: nobody waits for it. */
  elapsedMs(): number;
  /** Lets go of what answers; never rejects. Replay holds nothing. */
  close?(): Promise<void>;
}

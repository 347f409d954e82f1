import type { NightshiftError } from "../errors.ts";

/** One thing that is asked of an LLM. Its reply is used only when `parse` takes it. */
export interface LlmQuestion<T> {
  system: string;
  user: string;
  /** JSON schema of the reply. */
  schema: Record<string, unknown>;
  maxOutputTokens: number;
  /** Whose text is in it (trajectory versions and scenarios): a kept reply is erased with any of them. */
  sources: readonly string[];
  /** Whose token budget this is on; null where something else bounds the questions. */
  runId: string | null;
  /** Reads a reply, or says what is wrong with it in words for the model. The words are logged: they quote nothing of the reply or the prompt. */
  parse: (text: string) => { ok: true; value: T } | { ok: false; problem: string };
}

export type LlmAnswer<T> =
  | { status: "answered"; value: T; inputTokens: number; outputTokens: number; cached: boolean }
  /** The server is down, slow or busy: the same question may be answered later. */
  | { status: "retryable"; retryAfterMs: number; error: NightshiftError }
  /** Refused, the budget is spent, or no reply was usable in as many asks as are allowed. */
  | { status: "rejected"; error: NightshiftError };

/**
 * An LLM that is asked by content: the same question gets the same answer, also after a restart. Bounded in asks, retries, time, requests in flight and tokens
 * per run. Rejects only when `signal` aborts.
 */
export interface LlmClient {
  ask<T>(question: LlmQuestion<T>, options?: { signal?: AbortSignal }): Promise<LlmAnswer<T>>;
}

import type { NightshiftError } from "../errors.ts";

/** OpenAI chat messages and tools, as they go over the wire. */
export interface ChatMessage {
  role: "system" | "user" | "assistant" | "tool";
  content: string | null;
  tool_calls?: readonly { id: string; type: "function"; function: { name: string; arguments: string } }[];
  tool_call_id?: string;
}

export interface ChatTool {
  type: "function";
  function: { name: string; description?: string; parameters?: Record<string, unknown> };
}

export interface ChatRequest {
  /** Served model name: the base's, or an adapter's immutable name. */
  model: string;
  messages: readonly ChatMessage[];
  tools: readonly ChatTool[];
  sampling: { temperature: number; topP: number; maxTokens: number; seed: number };
  /** How many calls go first: those with a smaller one, and production's, which have 0. Unset: as production's. A server that schedules by nothing of the kind leaves it out of account. */
  priority?: number;
  /** More fields for the server as they are, such as `stop` or `chat_template_kwargs`; those above win. */
  passed?: Readonly<Record<string, unknown>>;
}

export type ChatResult =
  | {
      status: "completed";
      message: ChatMessage;
      /** stop | length | tool_calls */
      finishReason: string;
      promptTokenIds: readonly number[];
      completionTokenIds: readonly number[];
      /** Processed logprobs (after temperature), one per completion token. */
      logprobs: readonly number[];
    }
  /** Timeouts, refused connections, 429 and 5xx. */
  | { status: "retryable"; retryAfterMs: number; error: NightshiftError }
  /** 4xx: the same call cannot succeed. */
  | { status: "rejected"; error: NightshiftError };

export type AdapterLoadResult =
  | { status: "loaded" }
  | { status: "already_loaded" }
  | { status: "retryable"; retryAfterMs: number; error: NightshiftError }
  | { status: "rejected"; error: NightshiftError };

export interface ModelCard {
  id: string;
  root: string;
  parent: string | null;
}

/**
 * One replica that serves a base model and LoRA adapters, with vLLM's HTTP. Adapter names are immutable: a name is never loaded twice with other content.
 * No method throws for what the server answered; only an aborted `signal` rejects.
 */
export interface PolicyServer {
  chat(request: ChatRequest, options?: { signal?: AbortSignal }): Promise<ChatResult>;
  /** Logprob of every prompt token given those before it, at temperature 1; index 0 is null. `cacheSalt` keeps the prefix cache out. */
  promptLogprobs(
    request: { model: string; promptTokenIds: readonly number[]; cacheSalt: string; priority?: number },
    options?: { signal?: AbortSignal },
  ): Promise<{ status: "completed"; logprobs: readonly (number | null)[] } | Exclude<ChatResult, { status: "completed" }>>;
  /** What it serves now; null when it does not answer. */
  models(options?: { signal?: AbortSignal }): Promise<readonly ModelCard[] | null>;
  loadAdapter(adapter: { name: string; path: string }, options?: { signal?: AbortSignal }): Promise<AdapterLoadResult>;
  /** Unloading what is not loaded succeeds. */
  unloadAdapter(name: string, options?: { signal?: AbortSignal }): Promise<void>;
}

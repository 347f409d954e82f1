import OpenAI, { APIConnectionError, APIError, APIUserAbortError } from "openai";
import type { LlmJudgeConfig } from "../../config-judge.ts";
import { nightshiftError, type NightshiftError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { createBoundedFetch } from "./bounded-fetch.ts";
import type { Tokens } from "./budget.ts";
import { retryAfterMs } from "./retry-after.ts";

export type Messages = OpenAI.ChatCompletionMessageParam[];

/** What the server said, and what it cost by its own count, or by an estimate where it gives none. */
export interface Reply extends Tokens {
  text: string;
}

export interface Request {
  messages: Messages;
  /** JSON schema of the reply. */
  schema: Record<string, unknown>;
  maxOutputTokens: number;
}

/** One question to an OpenAI-compatible server, with its repetitions while it is busy. */
export interface Exchange {
  /** Rejects with what the `openai` package throws; see `failureOf`. An answer that is no completion is an empty reply. */
  complete(request: Request, signal?: AbortSignal): Promise<Reply>;
}

const RETRIES = 2;
const RETRY_AFTER_MS = 5_000;
const MAX_RETRY_AFTER_MS = 600_000;
/** English and JSON run at about four characters a token. */
const CHARS_PER_TOKEN = 4;
/** Parameters that some OpenAI-compatible servers or models refuse; left out from then on where one is named in a 400. */
const OPTIONAL = ["response_format", "temperature", "max_tokens"] as const;

export function createExchange(config: LlmJudgeConfig, { apiKey, log, now }: { apiKey: string; log: Logger; now: () => number }): Exchange {
  // Everything is given explicitly: the package would otherwise read its own environment variables.
  const client = new OpenAI({
    apiKey,
    baseURL: config.baseUrl ?? "https://api.openai.com/v1",
    organization: null,
    project: null,
    timeout: config.timeoutMs,
    maxRetries: RETRIES,
    fetch: createBoundedFetch(now),
    logLevel: "off",
  });
  const refused = new Set<string>();
  const complete: Exchange["complete"] = async (request, signal) => {
    const optional: Record<(typeof OPTIONAL)[number], unknown> = {
      response_format: { type: "json_schema", json_schema: { name: "reply", strict: true, schema: request.schema } },
      temperature: 0,
      max_tokens: request.maxOutputTokens,
    };
    const kept = Object.fromEntries(Object.entries(optional).filter(([name]) => !refused.has(name)));
    const body = { model: config.model, messages: request.messages, ...kept } as OpenAI.ChatCompletionCreateParamsNonStreaming;
    try {
      return readCompletion(await client.chat.completions.create(body, signal === undefined ? {} : { signal }), request);
    } catch (error) {
      // The body of a 200 was no JSON, or longer than any reply.
      if (error instanceof SyntaxError) return readCompletion(null, request);
      const named = error instanceof APIError && error.status === 400 ? OPTIONAL.find((name) => error.message.includes(name)) : undefined;
      if (named === undefined || refused.has(named)) throw error;
      log.info({ model: config.model, parameter: named }, "judge refuses a parameter, going on without it");
      refused.add(named);
      return complete(request, signal);
    }
  };
  return { complete };
}

/** What a question will hardly exceed: a third more than its characters come to, and the longest reply that it allows. */
export function estimateOf({ messages, maxOutputTokens }: Request): Tokens {
  return { inputTokens: Math.ceil(charactersOf(messages) / 3), outputTokens: maxOutputTokens };
}

/** Servers are only compatible as far as they are: anything may be absent, or of another type. */
function readCompletion(completion: unknown, { messages }: Request): Reply {
  const { choices, usage } = isObject(completion) ? completion : ({} as Record<string, unknown>);
  const choice: unknown = Array.isArray(choices) ? choices[0] : undefined;
  const message = isObject(choice) && isObject(choice["message"]) ? choice["message"] : {};
  const text = [message["refusal"], message["content"]].find((part) => typeof part === "string" && part !== "") as string | undefined;
  const counted = isObject(usage) ? usage : {};
  return {
    text: text ?? "",
    inputTokens: countOf(counted["prompt_tokens"]) ?? Math.ceil(charactersOf(messages) / CHARS_PER_TOKEN),
    outputTokens: countOf(counted["completion_tokens"]) ?? Math.ceil((text ?? "").length / CHARS_PER_TOKEN),
  };
}

/** What went wrong between us and the judge. Nothing of it is a score: an outage is no data. Throws what is no error of the exchange. */
export function failureOf(
  error: unknown,
  model: string,
  nowMs: number,
): { status: "retryable"; retryAfterMs: number; error: NightshiftError } | { status: "rejected"; error: NightshiftError } {
  if (!(error instanceof APIError) || error instanceof APIUserAbortError) throw error;
  const problem = error.message.slice(0, 300);
  const { status } = error as APIError;
  if (error instanceof APIConnectionError || status === undefined || status === 408 || status === 409 || status === 429 || status >= 500) {
    const waitMs = Math.min(retryAfterMs(error.headers, nowMs) ?? RETRY_AFTER_MS, MAX_RETRY_AFTER_MS);
    return { status: "retryable", retryAfterMs: waitMs, error: nightshiftError("judge_unavailable", { model, problem }, { cause: error }) };
  }
  return { status: "rejected", error: nightshiftError("judge_refused", { model, status, problem }, { cause: error }) };
}

function charactersOf(messages: Messages): number {
  return messages.reduce((sum, { content }) => sum + (typeof content === "string" ? content.length : 0), 0);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function countOf(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

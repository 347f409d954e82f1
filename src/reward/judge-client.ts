import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import OpenAI, { APIConnectionError, APIError, APIUserAbortError } from "openai";
import type { AgentConfig } from "../config.ts";
import { nightshiftError, type NightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Database } from "../store/database.ts";
import { createCounter, createHistogram, secondsSince } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { readReply, writeReply, type CachedReply } from "./judge-cache.ts";

export type LlmJudgeConfig = Extract<NonNullable<AgentConfig["pairJudge"]>, { driver: "ruler" }>;

export interface JudgeDeps {
  database: Database;
  log: Logger;
  now: () => number;
  /** The entry's environment, for `apiKeyEnv`. */
  env: Record<string, string | undefined>;
}

export interface Question<T> {
  system: string;
  user: string;
  /** JSON schema of the reply. */
  schema: Record<string, unknown>;
  maxOutputTokens: number;
  /** Whose text is in it (rollout/sources.ts): erased with any of them. */
  sources: readonly string[];
  /** Whose token budget this is on; null where something else bounds the questions. */
  runId: string | null;
  /** Reads a reply, or says what is wrong with it in words for the judge. */
  parse: (text: string) => { ok: true; value: T } | { ok: false; problem: string };
}

export type Answer<T> =
  | { status: "answered"; value: T; inputTokens: number; outputTokens: number; cached: boolean }
  | { status: "retryable"; retryAfterMs: number; error: NightshiftError }
  | { status: "rejected"; error: NightshiftError };

/** Asks an LLM and gets a valid reply or a typed error: cached by content, bounded in asks, retries, time, requests in flight and tokens per run. */
export interface JudgeClient {
  ask<T>(question: Question<T>, options?: { signal?: AbortSignal }): Promise<Answer<T>>;
}

const MAX_ASKS = 3;
const RETRY_AFTER_MS = 5_000;
const MAX_ECHO_CHARS = 2_000;
/** Parameters that some OpenAI-compatible servers or models refuse; left out from then on where one is named in a 400. */
const OPTIONAL = ["response_format", "temperature", "max_tokens"] as const;

/** @throws NightshiftError `judge_key_unreadable` */
export function createJudgeClient(config: LlmJudgeConfig, deps: JudgeDeps): JudgeClient {
  // Everything is given explicitly: the package would otherwise read its own environment variables.
  const client = new OpenAI({
    apiKey: readJudgeKey(config, deps.env),
    baseURL: config.baseUrl ?? "https://api.openai.com/v1",
    organization: null,
    project: null,
    timeout: config.timeoutMs,
    maxRetries: 2,
    logLevel: "off",
  });
  const meters = createMeters(config.model);
  const context: Context = { client, config, deps, meters, refused: new Set(), spent: new Map(), enter: createLimiter(config.concurrency) };
  return {
    async ask(question, options = {}) {
      const startMs = performance.now();
      const answer = await answerTo(question, context, options.signal);
      meters.answered(startMs, answer);
      return answer;
    },
  };
}

/** From the cache, from the judge, or why not. Rejects only when `signal` aborts. */
async function answerTo<T>(question: Question<T>, context: Context, signal?: AbortSignal): Promise<Answer<T>> {
  const { config, deps } = context;
  const key = cacheKey(config, question);
  const cached = await readReply(deps.database, key, question.sources);
  if (cached !== null) {
    const parsed = question.parse(cached.reply);
    if (parsed.ok) return { status: "answered", value: parsed.value, ...tokensOf(cached), cached: true };
  }
  const spent = question.runId === null ? 0 : (context.spent.get(question.runId) ?? 0);
  if (spent >= config.maxTokensPerRun) {
    const error = nightshiftError("judge_budget_spent", { model: config.model, spent, budget: config.maxTokensPerRun });
    return { status: "rejected", error };
  }
  const leave = await context.enter();
  try {
    return await converse(question, key, context, signal);
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason;
    return failure(error, config.model);
  } finally {
    leave();
  }
}

function createMeters(model: string) {
  const duration = createHistogram(METRIC.judgeCallDuration);
  const tokens = createCounter(METRIC.judgeTokens);
  return {
    answered(startMs: number, answer: Answer<unknown>): void {
      const outcome = answer.status === "answered" && answer.cached ? "cached" : answer.status;
      const errorType = answer.status === "answered" ? {} : { "error.type": answer.error.code };
      duration.record(secondsSince(startMs), { "gen_ai.request.model": model, "nightshift.outcome": outcome, ...errorType });
    },
    spent({ inputTokens, outputTokens }: CachedReply): void {
      tokens.add(inputTokens, { "gen_ai.request.model": model, "gen_ai.token.type": "input" });
      tokens.add(outputTokens, { "gen_ai.request.model": model, "gen_ai.token.type": "output" });
    },
  };
}

interface Context {
  client: OpenAI;
  meters: ReturnType<typeof createMeters>;
  config: LlmJudgeConfig;
  deps: JudgeDeps;
  refused: Set<string>;
  spent: Map<string, number>;
  enter: () => Promise<() => void>;
}

/** Asks until a reply can be used, telling the judge what was wrong with the one before. */
async function converse<T>(question: Question<T>, key: string, context: Context, signal?: AbortSignal): Promise<Answer<T>> {
  const { config, deps } = context;
  const messages: OpenAI.ChatCompletionMessageParam[] = [
    { role: "system", content: question.system },
    { role: "user", content: question.user },
  ];
  const total = { inputTokens: 0, outputTokens: 0 };
  let problem = "";
  for (let asked = 0; asked < MAX_ASKS; asked++) {
    const reply = await complete(messages, question, context, signal);
    context.meters.spent(reply);
    total.inputTokens += reply.inputTokens;
    total.outputTokens += reply.outputTokens;
    if (question.runId !== null) {
      context.spent.set(question.runId, (context.spent.get(question.runId) ?? 0) + reply.inputTokens + reply.outputTokens);
    }
    const parsed = question.parse(reply.reply);
    if (parsed.ok) {
      const of = { key, sources: question.sources, nowMs: deps.now() };
      await writeReply(deps.database, of, { reply: reply.reply, ...total });
      return { status: "answered", value: parsed.value, ...total, cached: false };
    }
    ({ problem } = parsed);
    deps.log.warn({ model: config.model, asked: asked + 1, problem }, "judge reply unusable");
    messages.splice(2, 2, ...correction(reply.reply, problem));
  }
  return { status: "rejected", error: nightshiftError("judge_reply_invalid", { model: config.model, asks: MAX_ASKS, problem }) };
}

function correction(reply: string, problem: string): OpenAI.ChatCompletionMessageParam[] {
  return [
    { role: "assistant", content: reply.slice(0, MAX_ECHO_CHARS) || "(empty)" },
    { role: "user", content: `That reply cannot be used: ${problem}. Send the whole JSON object again, corrected, and nothing else.` },
  ];
}

async function complete(
  messages: OpenAI.ChatCompletionMessageParam[],
  question: Question<unknown>,
  context: Context,
  signal?: AbortSignal,
): Promise<CachedReply> {
  const optional: Record<(typeof OPTIONAL)[number], unknown> = {
    response_format: { type: "json_schema", json_schema: { name: "reply", strict: true, schema: question.schema } },
    temperature: 0,
    max_tokens: question.maxOutputTokens,
  };
  const kept = Object.fromEntries(Object.entries(optional).filter(([name]) => !context.refused.has(name)));
  try {
    const request = { model: context.config.model, messages, ...kept } as OpenAI.ChatCompletionCreateParamsNonStreaming;
    const completion = await context.client.chat.completions.create(request, signal === undefined ? {} : { signal });
    // Servers are only compatible as far as they are: anything may be absent.
    const message = completion.choices?.[0]?.message;
    const reply = message?.refusal ?? message?.content ?? "";
    const characters = messages.reduce((sum, { content }) => sum + (typeof content === "string" ? content.length : 0), 0);
    return {
      reply,
      inputTokens: completion.usage?.prompt_tokens ?? Math.ceil(characters / 4),
      outputTokens: completion.usage?.completion_tokens ?? Math.ceil(reply.length / 4),
    };
  } catch (error) {
    const named = error instanceof APIError && error.status === 400 ? OPTIONAL.find((name) => error.message.includes(name)) : undefined;
    if (named === undefined || context.refused.has(named)) throw error;
    context.deps.log.info({ model: context.config.model, parameter: named }, "judge refuses a parameter, going on without it");
    context.refused.add(named);
    return complete(messages, question, context, signal);
  }
}

/** What went wrong between us and the judge. Nothing of it is a score: an outage is no data. */
function failure(
  error: unknown,
  model: string,
): { status: "retryable"; retryAfterMs: number; error: NightshiftError } | { status: "rejected"; error: NightshiftError } {
  const problem = error instanceof Error ? error.message.slice(0, 300) : String(error);
  if (!(error instanceof APIError) || error instanceof APIUserAbortError) throw error;
  const { status } = error as APIError;
  if (error instanceof APIConnectionError || status === undefined || status === 408 || status === 409 || status === 429 || status >= 500) {
    const seconds = Number(error.headers?.get("retry-after"));
    const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, 600_000) : RETRY_AFTER_MS;
    return { status: "retryable", retryAfterMs, error: nightshiftError("judge_unavailable", { model, problem }, { cause: error }) };
  }
  return { status: "rejected", error: nightshiftError("judge_refused", { model, status, problem }, { cause: error }) };
}

/** The configured key; "none" where none is. @throws NightshiftError `judge_key_unreadable` */
export function readJudgeKey(config: LlmJudgeConfig, env: JudgeDeps["env"]): string {
  if (config.apiKeyFile !== undefined) {
    try {
      return readFileSync(config.apiKeyFile, "utf8").trim();
    } catch (cause) {
      throw nightshiftError("judge_key_unreadable", { source: config.apiKeyFile, problem: (cause as Error).message }, { cause });
    }
  }
  // A server without authentication still wants some bearer token from the package.
  if (config.apiKeyEnv === undefined) return "none";
  const key = env[config.apiKeyEnv]?.trim();
  if (key === undefined || key === "")
    throw nightshiftError("judge_key_unreadable", { source: config.apiKeyEnv, problem: "it is not set" });
  return key;
}

function cacheKey(config: LlmJudgeConfig, question: Question<unknown>): string {
  const { system, user, schema, maxOutputTokens } = question;
  const identity = [config.baseUrl ?? null, config.model, { temperature: 0, maxOutputTokens }, schema, system, user];
  return createHash("sha256").update(JSON.stringify(identity)).digest("hex");
}

function tokensOf({ inputTokens, outputTokens }: CachedReply): { inputTokens: number; outputTokens: number } {
  return { inputTokens, outputTokens };
}

/** At most `limit` holders at once, in order of arrival. */
function createLimiter(limit: number): () => Promise<() => void> {
  const waiting: (() => void)[] = [];
  let held = 0;
  const leave = () => {
    const next = waiting.shift();
    if (next === undefined) held -= 1;
    else next();
  };
  return async () => {
    if (held < limit) held += 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    return leave;
  };
}

import { createHash } from "node:crypto";
import type { LlmJudgeConfig } from "../config-judge.ts";
import { nightshiftError } from "../errors.ts";
import { createLimiter } from "../limiter.ts";
import type { Logger } from "../log.ts";
import type { LlmAnswer, LlmQuestion } from "../serving/llm.ts";
import type { Database } from "../store/database.ts";
import { createCounter, createHistogram, secondsSince } from "../telemetry/instruments.ts";
import { METRIC } from "../telemetry/metrics.ts";
import { costOf, createJudgeBudget, type JudgeBudget, type JudgeRole, type Tokens } from "./client/budget.ts";
import { createExchange, estimateOf, failureOf, type Exchange, type Messages, type Reply, type Request } from "./client/exchange.ts";
import { readJudgeKey } from "./client/key.ts";
import { readReply, writeReply } from "./judge-cache.ts";

export type { LlmJudgeConfig } from "../config-judge.ts";

export interface JudgeDeps {
  database: Database;
  log: Logger;
  now: () => number;
  /** The entry's environment, for `apiKeyEnv`. */
  env: Record<string, string | undefined>;
}

export type Question<T> = LlmQuestion<T>;

/** `cost` at the configured prices, null without them. Where it came from the cache, tokens and cost are those of the day it was asked. */
export type Answer<T> =
  | (Extract<LlmAnswer<T>, { status: "answered" }> & { cost: number | null })
  | Exclude<LlmAnswer<T>, { status: "answered" }>;

/** Asks an LLM and gets a valid reply or a typed error: cached by content, bounded in asks, retries, time, requests in flight, and tokens and money per run. */
export interface JudgeClient {
  ask<T>(question: Question<T>, options?: { signal?: AbortSignal }): Promise<Answer<T>>;
}

const MAX_ASKS = 3;
const MAX_ECHO_CHARS = 2_000;

/** @param role whose budget of a run it draws on @throws NightshiftError `judge_key_unreadable` */
export function createJudgeClient(config: LlmJudgeConfig, deps: JudgeDeps, role: JudgeRole = "reward"): JudgeClient {
  const context: Context = {
    ...{ config, deps },
    exchange: createExchange(config, { apiKey: readJudgeKey(config, deps.env), log: deps.log, now: deps.now }),
    budget: createJudgeBudget(config, role, deps.database),
    meters: createMeters(config),
  };
  const limiter = createLimiter(config.concurrency);
  return {
    async ask(question, { signal } = {}) {
      const startMs = performance.now();
      const key = cacheKey(config, question);
      const known = await fromCache(question, key, context);
      const answer = known ?? (await limiter(() => converse(question, key, context, signal)));
      context.meters.answered(startMs, answer);
      return answer;
    },
  };
}

interface Context {
  config: LlmJudgeConfig;
  deps: JudgeDeps;
  exchange: Exchange;
  budget: JudgeBudget;
  meters: ReturnType<typeof createMeters>;
}

async function fromCache<T>(question: Question<T>, key: string, { config, deps }: Context): Promise<Answer<T> | null> {
  const cached = await readReply(deps.database, key, question.sources);
  if (cached === null) return null;
  const parsed = question.parse(cached.reply);
  if (!parsed.ok) return null;
  const { inputTokens, outputTokens } = cached;
  return { status: "answered", value: parsed.value, inputTokens, outputTokens, cost: costOf(config, cached), cached: true };
}

/** Asks until a reply can be used, telling the judge what was wrong with the one before. Rejects only when `signal` aborts, or the database is away. */
async function converse<T>(question: Question<T>, key: string, context: Context, signal?: AbortSignal): Promise<Answer<T>> {
  const { config, deps, meters } = context;
  const messages: Messages = [
    { role: "system", content: question.system },
    { role: "user", content: question.user },
  ];
  const total: Tokens = { inputTokens: 0, outputTokens: 0 };
  let problem = "";
  for (let asked = 0; asked < MAX_ASKS; asked++) {
    const asking = await askOnce({ messages, ...question }, question.runId, context, signal);
    if (asking.status !== "replied") return asking;
    const { reply } = asking;
    total.inputTokens += reply.inputTokens;
    total.outputTokens += reply.outputTokens;
    const parsed = question.parse(reply.text);
    if (parsed.ok) {
      const of = { key, sources: question.sources, nowMs: deps.now() };
      await writeReply(deps.database, of, { reply: reply.text, ...total });
      return { status: "answered", value: parsed.value, ...total, cost: costOf(config, total), cached: false };
    }
    ({ problem } = parsed);
    meters.unusable();
    deps.log.warn({ model: config.model, asked: asked + 1, problem }, "judge reply unusable");
    messages.splice(2, 2, ...correction(reply.text, problem));
  }
  return { status: "rejected", error: nightshiftError("judge_reply_invalid", { model: config.model, asks: MAX_ASKS, problem }) };
}

type Asked = { status: "replied"; reply: Reply } | Exclude<Answer<never>, { status: "answered" }>;

/** One request, on the run's budget. */
async function askOnce(request: Request, runId: string | null, context: Context, signal?: AbortSignal): Promise<Asked> {
  const { config, budget, exchange, meters } = context;
  signal?.throwIfAborted();
  const held = runId === null ? null : await budget.reserve(runId, estimateOf(request));
  if (held?.status === "spent") {
    const { used, budget: most } = held;
    return { status: "rejected", error: nightshiftError("judge_budget_spent", { model: config.model, used, budget: most }) };
  }
  let used: Tokens = { inputTokens: 0, outputTokens: 0 };
  try {
    const reply = await exchange.complete(request, signal);
    used = reply;
    meters.spent(reply);
    return { status: "replied", reply };
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason;
    return failureOf(error, config.model, context.deps.now());
  } finally {
    await held?.settle(used);
  }
}

function correction(reply: string, problem: string): Messages {
  return [
    { role: "assistant", content: reply.slice(0, MAX_ECHO_CHARS) || "(empty)" },
    { role: "user", content: `That reply cannot be used: ${problem}. Send the whole JSON object again, corrected, and nothing else.` },
  ];
}

function createMeters(config: LlmJudgeConfig) {
  const duration = createHistogram(METRIC.judgeCallDuration);
  const tokens = createCounter(METRIC.judgeTokens);
  const cost = createCounter(METRIC.judgeCost);
  const unusable = createCounter(METRIC.judgeUnusableReplies);
  const model = { "gen_ai.request.model": config.model };
  return {
    answered(startMs: number, answer: Answer<unknown>): void {
      const outcome = answer.status === "answered" && answer.cached ? "cached" : answer.status;
      const errorType = answer.status === "answered" ? {} : { "error.type": answer.error.code };
      duration.record(secondsSince(startMs), { ...model, "nightshift.outcome": outcome, ...errorType });
    },
    spent(used: Tokens): void {
      tokens.add(used.inputTokens, { ...model, "gen_ai.token.type": "input" });
      tokens.add(used.outputTokens, { ...model, "gen_ai.token.type": "output" });
      const paid = costOf(config, used);
      if (paid !== null) cost.add(paid, model);
    },
    unusable: () => unusable.add(1, model),
  };
}

function cacheKey(config: LlmJudgeConfig, question: Question<unknown>): string {
  const { system, user, schema, maxOutputTokens } = question;
  const identity = [config.baseUrl ?? null, config.model, { temperature: 0, maxOutputTokens }, schema, system, user];
  return createHash("sha256").update(JSON.stringify(identity)).digest("hex");
}

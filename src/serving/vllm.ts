import { Agent, errors, request } from "undici";
import type { z } from "zod";
import { nightshiftError } from "../errors.ts";
import { chatAnswerSchema, errorAnswerSchema, modelsAnswerSchema, PRIORITY_REFUSED, promptLogprobsAnswerSchema } from "./vllm-wire.ts";
import type { AdapterLoadResult, ChatRequest, ChatResult, ModelCard, PolicyServer } from "./policy-server.ts";

export interface VllmConfig {
  /** Without a path: `http://127.0.0.1:8000`. */
  url: string;
  /** Sent as a bearer token; never logged. */
  apiKey?: string;
  /** For one completion, and for loading an adapter. */
  timeoutMs: number;
  /** Requests in flight at once; more wait in this process. */
  connections: number;
}

type Failure = Exclude<ChatResult, { status: "completed" }>;
type Answer = { status: "answered"; body: unknown; text: string } | (Failure & { httpStatus: number | null; kind: string | null });

/** A vLLM server (or the embedded one, which speaks the same HTTP) as a PolicyServer. `close` frees its connections. */
export function createVllm(config: VllmConfig): PolicyServer & { close(): Promise<void> } {
  const agent = new Agent({ connections: config.connections, keepAliveTimeout: 4_000 });
  const call = (method: "GET" | "POST", path: string, body: unknown, signal?: AbortSignal): Promise<Answer> =>
    send(config, agent, { method, path, body, ...(signal === undefined ? {} : { signal }) });
  // Until it says otherwise: a night on a server that was started without the flag is a night all the same.
  let takesPriority = true;
  /** 0 is never sent: it is every server's own. */
  async function askBehind(wanted: number | undefined, ask: (priority: { priority?: number }) => Promise<Answer>): Promise<Answer> {
    const priority = takesPriority ? (wanted ?? 0) : 0;
    const answer = await ask(priority === 0 ? {} : { priority });
    if (priority === 0 || !refusesPriority(answer)) return answer;
    takesPriority = false;
    return ask({});
  }

  return {
    async chat(chat, options) {
      const answer = await askBehind(chat.priority, (priority) =>
        call("POST", "/v1/chat/completions", chatBody(chat, priority), options?.signal),
      );
      if (answer.status !== "answered") return failure(answer);
      const parsed = understand(config.url, chatAnswerSchema, answer.body);
      return parsed.status === "understood" ? completed(config.url, parsed.value) : parsed;
    },
    async promptLogprobs({ model, promptTokenIds, cacheSalt, priority: wanted }, options) {
      const body = { model, prompt: promptTokenIds, max_tokens: 1, prompt_logprobs: 0, cache_salt: cacheSalt, temperature: 0 };
      const answer = await askBehind(wanted, (priority) => call("POST", "/v1/completions", { ...body, ...priority }, options?.signal));
      if (answer.status !== "answered") return failure(answer);
      const parsed = understand(config.url, promptLogprobsAnswerSchema, answer.body);
      if (parsed.status !== "understood") return parsed;
      const entries = parsed.value.choices[0].prompt_logprobs;
      // The first token has nothing before it; every later one must be there under its own id.
      const logprobs = promptTokenIds.map((id, index) => entries[index]?.[String(id)]?.logprob ?? null);
      if (logprobs.slice(1).includes(null)) return notUnderstood(config.url, "a prompt token has no logprob");
      return { status: "completed", logprobs };
    },
    async models(options) {
      const answer = await call("GET", "/v1/models", undefined, options?.signal);
      if (answer.status !== "answered") return null;
      const parsed = modelsAnswerSchema.safeParse(answer.body);
      return parsed.success
        ? parsed.data.data.map((card): ModelCard => ({ id: card.id, root: card.root ?? "", parent: card.parent ?? null }))
        : null;
    },
    async loadAdapter({ name, path }, options) {
      const answer = await call("POST", "/v1/load_lora_adapter", { lora_name: name, lora_path: path }, options?.signal);
      return answer.status === "answered" ? { status: "loaded" } : loadFailure(answer);
    },
    async unloadAdapter(name, options) {
      // Unknown is what we want, and a server that does not answer has forgotten everything by the time it is back.
      await call("POST", "/v1/unload_lora_adapter", { lora_name: name }, options?.signal);
    },
    close: () => agent.close(),
  };
}

function refusesPriority(answer: Answer): boolean {
  return answer.status === "rejected" && PRIORITY_REFUSED.test(answer.error.message);
}

function chatBody(chat: ChatRequest, priority: { priority?: number }): unknown {
  return {
    ...(chat.tools.length > 0 ? { tool_choice: "auto" } : {}),
    ...chat.passed,
    model: chat.model,
    messages: chat.messages,
    ...(chat.tools.length > 0 ? { tools: chat.tools } : {}),
    temperature: chat.sampling.temperature,
    top_p: chat.sampling.topP,
    max_tokens: chat.sampling.maxTokens,
    seed: chat.sampling.seed,
    ...priority,
    logprobs: true,
    top_logprobs: 0,
    return_token_ids: true,
  };
}

function completed(url: string, answer: z.infer<typeof chatAnswerSchema>): ChatResult {
  const choice = answer.choices[0];
  const logprobs = choice.logprobs.content.map((token) => token.logprob);
  if (logprobs.length !== choice.token_ids.length)
    return notUnderstood(url, `${choice.token_ids.length} token ids but ${logprobs.length} logprobs`);
  const calls = choice.message.tool_calls ?? [];
  return {
    status: "completed",
    message: { role: "assistant", content: choice.message.content ?? null, ...(calls.length > 0 ? { tool_calls: calls } : {}) },
    finishReason: choice.finish_reason,
    promptTokenIds: answer.prompt_token_ids,
    completionTokenIds: choice.token_ids,
    logprobs,
  };
}

/** Duplicate is its own answer. vLLM answers 500 with an error body for an adapter that it cannot load: repeating does not help. */
function loadFailure(answer: Exclude<Answer, { status: "answered" }>): AdapterLoadResult {
  if (answer.httpStatus === 400 && answer.error.message.includes("already been loaded")) return { status: "already_loaded" };
  if (answer.httpStatus === 500 && answer.kind !== null) return { status: "rejected", error: answer.error };
  return failure(answer);
}

async function send(
  config: VllmConfig,
  agent: Agent,
  call: { method: "GET" | "POST"; path: string; body: unknown; signal?: AbortSignal },
): Promise<Answer> {
  const timeout = AbortSignal.timeout(config.timeoutMs);
  try {
    const response = await request(config.url + call.path, {
      method: call.method,
      dispatcher: agent,
      signal: call.signal === undefined ? timeout : AbortSignal.any([call.signal, timeout]),
      headers: { "content-type": "application/json", ...(config.apiKey === undefined ? {} : { authorization: `Bearer ${config.apiKey}` }) },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    });
    const text = await response.body.text();
    if (response.statusCode < 300) return { status: "answered", text, body: parseJson(text) };
    return refused(config.url, call.path, { status: response.statusCode, text, retryAfter: response.headers["retry-after"] });
  } catch (error) {
    call.signal?.throwIfAborted();
    const problem = timeout.aborted ? `no answer within ${config.timeoutMs} ms` : problemOf(error);
    return {
      status: "retryable",
      retryAfterMs: DEFAULT_RETRY_MS,
      error: nightshiftError("policy_server_unavailable", { url: config.url, problem }, { cause: error }),
      httpStatus: null,
      kind: null,
    };
  }
}

const DEFAULT_RETRY_MS = 1_000;

function refused(url: string, path: string, answer: { status: number; text: string; retryAfter: string | string[] | undefined }): Answer {
  const parsed = errorAnswerSchema.safeParse(parseJson(answer.text));
  const kind = parsed.success ? parsed.data.error.type : null;
  const problem = parsed.success ? summary(parsed.data.error.message) : "no reason given";
  if (answer.status === 408 || answer.status === 429 || answer.status >= 500) {
    const seconds = Number(answer.retryAfter);
    return {
      status: "retryable",
      retryAfterMs: Number.isFinite(seconds) && seconds > 0 ? seconds * 1_000 : DEFAULT_RETRY_MS,
      error: nightshiftError("policy_server_unavailable", { url, problem: `HTTP ${answer.status}: ${problem}` }),
      httpStatus: answer.status,
      kind,
    };
  }
  return {
    status: "rejected",
    error: nightshiftError("policy_server_refused", { url, path, status: answer.status, problem }),
    httpStatus: answer.status,
    kind,
  };
}

function failure(answer: Exclude<Answer, { status: "answered" }>): Failure {
  return answer.status === "retryable"
    ? { status: "retryable", retryAfterMs: answer.retryAfterMs, error: answer.error }
    : { status: "rejected", error: answer.error };
}

function understand<S extends z.ZodType>(url: string, schema: S, body: unknown): { status: "understood"; value: z.infer<S> } | Failure {
  const parsed = schema.safeParse(body);
  if (parsed.success) return { status: "understood", value: parsed.data };
  return notUnderstood(url, parsed.error.issues[0]?.path.join(".") ?? "not JSON");
}

function notUnderstood(url: string, where: string): Failure {
  return { status: "rejected", error: nightshiftError("policy_server_answer_invalid", { url, where }) };
}

/** One line of the server's reason. Its validation errors go on with the request itself, which must not reach a log. */
function summary(message: string): string {
  return (message.split(/["']?input["']?\s*[:=]|\n/u)[0] ?? "").slice(0, 300);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function problemOf(error: unknown): string {
  if (error instanceof errors.UndiciError) return error.code;
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return code ?? "connection failed";
}

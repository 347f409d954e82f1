import { randomUUID } from "node:crypto";
import { request } from "undici";
import { z } from "zod";
import { PRIORITY_REFUSED } from "./vllm-wire.ts";

/** How a vLLM server was started, as far as its HTTP tells. Null is what it does not tell. */
export interface VllmFacts {
  version: string | null;
  /** Names that it serves. */
  models: string[];
  /** `--enable-lora` */
  hasLora: boolean | null;
  /** `VLLM_ALLOW_RUNTIME_LORA_UPDATING` */
  loadsAtRunTime: boolean | null;
  maxLoras: number | null;
  maxCpuLoras: number | null;
  maxLoraRank: number | null;
  /** `--logprobs-mode processed_logprobs`: what sampling used, after temperature. */
  hasProcessedLogprobs: boolean | null;
  /** `fcfs` or `priority`. */
  schedulingPolicy: string | null;
  /** Its development endpoints are open (VLLM_SERVER_DEV_MODE): the only place where it tells its whole configuration. */
  isInDevelopmentMode: boolean;
  /** Of the first answer. */
  dateHeader: string | null;
}

interface Server {
  url: string;
  /** Under which it serves the base. */
  model: string;
  timeoutMs: number;
}

interface Answer {
  status: number;
  body: unknown;
  text: string;
  date: string | null;
}

/**
 * Asks a server about itself: three completions of one token, nothing loaded, nothing changed. Null when it does not answer.
 * What only its development mode tells (max-cpu-loras, max-lora-rank, the scheduling policy) is null without that.
 */
export async function examineVllm(server: Server): Promise<VllmFacts | null> {
  const listed = await ask(server, "GET", "/v1/models");
  if (listed === null) return null;
  const version = versionSchema.safeParse((await ask(server, "GET", "/version"))?.body);
  const hasProcessedLogprobs = await probeLogprobs(server);
  // After the completions: the metric of adapters appears with the first request.
  const metrics = await ask(server, "GET", "/metrics");
  const info = await ask({ ...server, timeoutMs: INFO_TIMEOUT_MS }, "GET", "/server_info?config_format=json");
  const told = infoSchema.safeParse(info?.body);
  const { lora_config: lora, scheduler_config: scheduler } = told.success ? told.data.vllm_config : {};
  const models = modelsSchema.safeParse(listed.body);
  return {
    version: version.success ? version.data.version : null,
    models: models.success ? models.data.data.map(({ id }) => id) : [],
    hasLora: told.success ? lora != null : metrics?.status === 200 ? metrics.text.includes("vllm:lora_requests_info") : null,
    loadsAtRunTime: await probeRunTimeLoading(server),
    maxLoras: lora?.max_loras ?? maxLorasIn(metrics?.text ?? ""),
    maxCpuLoras: lora?.max_cpu_loras ?? null,
    maxLoraRank: lora?.max_lora_rank ?? null,
    hasProcessedLogprobs,
    schedulingPolicy: scheduler?.policy ?? (await probePriority(server)),
    isInDevelopmentMode: info?.status === 200,
    dateHeader: listed.date,
  };
}

/** Adapters that a server holds at once, by its metrics; null where it does not tell, as before its first request with LoRA enabled. */
export async function readAdapterSlots(url: string): Promise<number | null> {
  const metrics = await ask({ url: url.replace(/\/+$/, ""), model: "", timeoutMs: METRICS_TIMEOUT_MS }, "GET", "/metrics");
  return maxLorasIn(metrics?.text ?? "");
}

const versionSchema = z.object({ version: z.string() });
const modelsSchema = z.object({ data: z.array(z.object({ id: z.string() })) });
const infoSchema = z.object({
  vllm_config: z.object({
    lora_config: z.object({ max_loras: z.int(), max_cpu_loras: z.int().nullable(), max_lora_rank: z.int() }).nullish(),
    scheduler_config: z.object({ policy: z.string() }).optional(),
  }),
});
const completionSchema = z.object({
  choices: z.tuple([z.object({ logprobs: z.object({ top_logprobs: z.tuple([z.record(z.string(), z.number())]) }) })]),
});

/** 404 at once where it is not open; where it is, the server first lists every package of its machine. */
const INFO_TIMEOUT_MS = 120_000;
const METRICS_TIMEOUT_MS = 2_000;
/** Of a server that has just started: it compiles what it runs, on a busy CPU for more than 20 s. */
const FIRST_COMPLETION_TIMEOUT_MS = 60_000;
const TOP = 5;
const EQUAL = 1e-3;

/**
 * Temperature moves processed logprobs and leaves raw ones alone. So the same prompt is completed at two temperatures: the likeliest tokens are the same, and
 * their numbers either differ or do not.
 */
async function probeLogprobs(server: Server): Promise<boolean | null> {
  const cool = await topLogprobs({ ...server, timeoutMs: FIRST_COMPLETION_TIMEOUT_MS }, 1);
  const warm = cool === null ? null : await topLogprobs(server, 2);
  if (cool === null || warm === null) return null;
  const pairs = Object.entries(cool).flatMap(([token, logprob]) => (warm[token] === undefined ? [] : [[logprob, warm[token]] as const]));
  // Logits are not bounded by 0.
  if (pairs.length === 0 || pairs.flat().some((value) => value > EQUAL)) return pairs.length === 0 ? null : false;
  return pairs.some(([a, b]) => Math.abs(a - b) > EQUAL);
}

async function topLogprobs(server: Server, temperature: number): Promise<Record<string, number> | null> {
  const body = { model: server.model, prompt: "Hello", max_tokens: 1, logprobs: TOP, temperature, seed: 1 };
  const parsed = completionSchema.safeParse((await ask(server, "POST", "/v1/completions", body))?.body);
  return parsed.success ? parsed.data.choices[0].logprobs.top_logprobs[0] : null;
}

/** A server that refuses a priority has no such policy; one that takes it need not have it. */
async function probePriority(server: Server): Promise<"fcfs" | null> {
  const answer = await ask(server, "POST", "/v1/completions", { model: server.model, prompt: "Hello", max_tokens: 1, priority: 1 });
  return answer?.status === 400 && PRIORITY_REFUSED.test(answer.text) ? "fcfs" : null;
}

/** Unloading what nobody loaded is refused by its name where the path exists, and by the path where it does not. */
async function probeRunTimeLoading(server: Server): Promise<boolean | null> {
  const name = `nightshift-doctor-${randomUUID()}`;
  const answer = await ask(server, "POST", "/v1/unload_lora_adapter", { lora_name: name });
  if (answer?.status !== 404) return null;
  return answer.text.includes(name);
}

function maxLorasIn(metrics: string): number | null {
  const found = /^vllm:lora_requests_info\{[^}\n]*max_lora="(\d+)"/m.exec(metrics)?.[1];
  return found === undefined ? null : Number(found);
}

async function ask({ url, timeoutMs }: Server, method: "GET" | "POST", path: string, body?: unknown): Promise<Answer | null> {
  try {
    const answer = await request(url + path, {
      method,
      signal: AbortSignal.timeout(timeoutMs),
      headers: { "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    const { date } = answer.headers;
    return { status: answer.statusCode, text, body: parseJson(text), date: typeof date === "string" ? date : null };
  } catch {
    // Not there, or not HTTP: either way it told nothing.
    return null;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

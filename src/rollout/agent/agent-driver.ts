import { setTimeout as sleep } from "node:timers/promises";
import { placeholdersIn } from "../../config-agent-replay.ts";
import type { AgentConfig } from "../../config.ts";
import { createLimiter } from "../../limiter.ts";
import { textOf } from "../../trace/message.ts";
import type { RolloutEnd } from "../group.ts";
import type { AgentDriver, MemberPlan } from "../plan.ts";
import { createReplaySession } from "../replay-session.ts";
import { freePort, startAgentProcess, type AgentProcess } from "./agent-process.ts";
import { createAgentSession, type AgentSession } from "./agent-session.ts";
import type { RolloutListener, RolloutPlace } from "./listener.ts";
import { fillIn, type PlaceholderValues } from "./placeholders.ts";

export type AgentReplay = NonNullable<AgentConfig["replay"]["agent"]>;

export interface AgentDriverDeps {
  listener: Pick<RolloutListener, "open">;
  /** The entry's environment; a command sees five names of it. */
  env: Readonly<Record<string, string | undefined>>;
}

const READY_POLL_MS = 25;

/**
 * Runs the user's agent once per rollout: its model is tonight's policy, its tools are the rollout's replay, and nothing it is given leads anywhere else. It ends when
 * the agent has replied to the last recorded user turn, when replay or a limit ends it, or after `timeoutMs`.
 */
export function createAgentDriver(config: AgentReplay, deps: AgentDriverDeps): AgentDriver {
  const limiter = createLimiter(config.concurrency);
  return { play: (plan) => limiter(() => play(config, plan, deps)) };
}

type Played = Awaited<ReturnType<AgentDriver["play"]>>;

async function play(config: AgentReplay, plan: MemberPlan, deps: AgentDriverDeps): Promise<Played> {
  plan.signal?.throwIfAborted();
  const session = createAgentSession(plan, createReplaySession(plan));
  const place = await deps.listener.open(session, {
    tools: plan.scenario.start.tools,
    ownOrigin: placeholdersIn(config).has("toolsOrigin"),
  });
  const late = AbortSignal.timeout(config.timeoutMs);
  const stop = AbortSignal.any([session.over, late, ...(plan.signal === undefined ? [] : [plan.signal])]);
  const running: AgentProcess[] = [];
  try {
    const replied = await converse(config, plan, { place, stop, running, ...deps }).catch((cause: unknown) => {
      if (stop.aborted) return false;
      throw cause;
    });
    plan.signal?.throwIfAborted();
    return session.finish(endOf({ replied, late: late.aborted }));
  } finally {
    await Promise.all([place.close(), ...running.map((one) => one.stop())]);
  }
}

function endOf({ replied, late }: { replied: boolean; late: boolean }): RolloutEnd {
  if (replied) return { status: "completed" };
  return { status: "masked", cause: late ? "agent_timeout" : "agent_failed" };
}

interface Conversation extends AgentDriverDeps {
  place: RolloutPlace;
  stop: AbortSignal;
  /** Whoever plays ends these. */
  running: AgentProcess[];
}

/** The user's turns one after another, in one conversation. Whether the agent replied to all; rejects when `stop` aborts. */
async function converse(config: AgentReplay, plan: MemberPlan, talk: Conversation): Promise<boolean> {
  const { request, command } = config;
  const values: PlaceholderValues = {
    ...valuesOf(plan, talk.place),
    ...(placeholdersIn(config).has("port") ? { port: String(await freePort()) } : {}),
  };
  const messages = [plan.scenario.start.messages.findLast(({ role }) => role === "user"), ...plan.scenario.start.userTurns];
  const texts = messages.flatMap((message) => (message === undefined ? [] : [textOf(message)]));
  if (request === undefined) {
    for (const message of texts) if (!(await runOnce(config, { ...values, message }, talk))) return false;
    return true;
  }
  const process = command === undefined ? null : start(config, values, talk);
  const gone = process === null ? new Promise<false>(() => undefined) : process.exited.then(() => false as const);
  if (config.readyUrl !== undefined && !(await Promise.race([gone, isReady(fillIn(config.readyUrl, values), talk.stop)]))) return false;
  for (const message of texts) if (!(await Promise.race([gone, post(request, { ...values, message }, talk.stop)]))) return false;
  return true;
}

function valuesOf(
  plan: MemberPlan,
  { token, openaiBaseUrl, mcpUrl, sseUrl, toolsUrl, otlpUrl, toolsOrigin }: RolloutPlace,
): PlaceholderValues {
  return {
    conversationId: plan.rolloutId,
    userId: plan.scenario.subject,
    ...{ openaiBaseUrl, apiKey: token, mcpUrl, sseUrl, toolsUrl, otlpUrl },
    ...(toolsOrigin === null ? {} : { toolsOrigin }),
  };
}

function start({ command = [], directory, env }: AgentReplay, values: PlaceholderValues, talk: Conversation, input?: string): AgentProcess {
  const process = startAgentProcess({
    command: fillIn(command, values),
    directory,
    env: { ...standardEnv(values), ...fillIn(env, values) },
    inherited: talk.env,
    ...(input === undefined ? {} : { input }),
  });
  talk.running.push(process);
  return process;
}

/** What OpenAI's and OpenTelemetry's packages read, and MCP clients are told: with these alone most agents are redirected whole. */
function standardEnv({
  openaiBaseUrl = "",
  apiKey = "",
  mcpUrl = "",
  toolsUrl = "",
  otlpUrl = "",
  conversationId = "",
}: PlaceholderValues): Record<string, string> {
  return {
    OPENAI_BASE_URL: openaiBaseUrl,
    OPENAI_API_KEY: apiKey,
    OTEL_SDK_DISABLED: "true",
    OTEL_EXPORTER_OTLP_ENDPOINT: otlpUrl,
    NIGHTSHIFT_MCP_URL: mcpUrl,
    NIGHTSHIFT_TOOLS_URL: toolsUrl,
    NIGHTSHIFT_CONVERSATION_ID: conversationId,
  };
}

/** One user turn of a program that ends with its reply. */
async function runOnce(config: AgentReplay, values: PlaceholderValues, talk: Conversation): Promise<boolean> {
  const process = start(config, values, talk, values.message ?? "");
  return (await Promise.race([process.exited, aborted(talk.stop)])) === 0;
}

async function isReady(url: string, stop: AbortSignal): Promise<boolean> {
  for (;;) {
    const answer = await fetch(url, { signal: stop, redirect: "manual" }).catch(() => null);
    await answer?.body?.cancel();
    if (answer?.ok === true) return true;
    await sleep(READY_POLL_MS, undefined, { signal: stop });
  }
}

/** Whether the agent took the message and replied. */
async function post(request: NonNullable<AgentReplay["request"]>, values: PlaceholderValues, stop: AbortSignal): Promise<boolean> {
  const { url, headers, body } = fillIn(request, values);
  const options = {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
    redirect: "manual",
  } as const;
  const answer = await fetch(url, { ...options, signal: stop }).catch((cause: unknown) => {
    if (stop.aborted) throw cause;
    return null;
  });
  // A streamed reply is over when its last byte is here.
  await answer?.arrayBuffer().catch((cause: unknown) => {
    if (stop.aborted) throw cause;
  });
  return answer?.ok === true;
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    if (signal.aborted) reject(signal.reason as Error);
  });
}

import { setTimeout as sleep } from "node:timers/promises";
import { placeholdersIn } from "../../config-agent-replay.ts";
import type { AgentConfig } from "../../config.ts";
import { createLimiter } from "../../limiter.ts";
import type { Logger } from "../../log.ts";
import { textOf } from "../../trace/message.ts";
import type { RolloutEnd } from "../group.ts";
import type { AgentDriver, MemberPlan } from "../plan.ts";
import { createReplaySession } from "../replay-session.ts";
import { freePort, startAgentProcess, type AgentProcess } from "./agent-process.ts";
import { createAgentSession } from "./agent-session.ts";
import type { RolloutListener, RolloutPlace } from "./listener.ts";
import { fillIn, type PlaceholderValues } from "./placeholders.ts";

export type AgentReplay = NonNullable<AgentConfig["replay"]["agent"]>;

export interface AgentDriverDeps {
  listener: Pick<RolloutListener, "open">;
  /** The entry's environment; a command sees five names of it. */
  env: Readonly<Record<string, string | undefined>>;
  log: Logger;
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
    const problem = await converse(config, plan, { place, stop, running, ...deps }).catch((cause: unknown) => {
      if (stop.aborted) return late.aborted ? `no reply within ${config.timeoutMs} ms` : "the rollout has ended";
      throw cause;
    });
    plan.signal?.throwIfAborted();
    const rollout = session.finish(endOf({ replied: problem === null, late: late.aborted }));
    if (rollout.end.status === "masked") {
      const { cause } = rollout.end;
      deps.log.warn(
        { run_id: plan.runId, scenario_id: plan.scenario.id, cause, problem: problem ?? "none" },
        "rollout of the agent is masked",
      );
    }
    return rollout;
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

/** The user's turns one after another, in one conversation. What kept the agent from replying to all, null for nothing; rejects when `stop` aborts. */
async function converse(config: AgentReplay, plan: MemberPlan, talk: Conversation): Promise<string | null> {
  const { request, command } = config;
  const values: PlaceholderValues = {
    ...valuesOf(plan, talk.place),
    ...(placeholdersIn(config).has("port") ? { port: String(await freePort()) } : {}),
  };
  const messages = [plan.scenario.start.messages.findLast(({ role }) => role === "user"), ...plan.scenario.start.userTurns];
  const texts = messages.flatMap((message) => (message === undefined ? [] : [textOf(message)]));
  if (request === undefined) {
    for (const message of texts) {
      const problem = await runOnce(config, { ...values, message }, talk);
      if (problem !== null) return problem;
    }
    return null;
  }
  const gone = command === undefined ? new Promise<never>(() => undefined) : start(config, values, talk).exited.then(ended);
  if (config.readyUrl !== undefined) {
    const problem = await Promise.race([gone, ready(fillIn(config.readyUrl, values), talk.stop)]);
    if (problem !== null) return problem;
  }
  for (const message of texts) {
    const problem = await Promise.race([gone, post(request, { ...values, message }, talk.stop)]);
    if (problem !== null) return problem;
  }
  return null;
}

function ended(code: number | null): string {
  return code === null ? "could not be started, or was killed" : `ended with exit code ${code}`;
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
async function runOnce(config: AgentReplay, values: PlaceholderValues, talk: Conversation): Promise<string | null> {
  const process = start(config, values, talk, values.message ?? "");
  const code = await Promise.race([process.exited, aborted(talk.stop)]);
  return code === 0 ? null : ended(code);
}

async function ready(url: string, stop: AbortSignal): Promise<null> {
  for (;;) {
    const answer = await fetch(url, { signal: stop, redirect: "manual" }).catch(() => null);
    await answer?.body?.cancel();
    if (answer?.ok === true) return null;
    await sleep(READY_POLL_MS, undefined, { signal: stop });
  }
}

/** Posts a user's message and waits for the whole reply, which is over with its last byte where it is streamed. */
async function post(request: NonNullable<AgentReplay["request"]>, values: PlaceholderValues, stop: AbortSignal): Promise<string | null> {
  const { url, headers, body } = fillIn(request, values);
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
      // Whoever sends elsewhere may send to production.
      redirect: "manual",
      signal: stop,
    });
    await answer.arrayBuffer();
    return answer.ok ? null : `answered HTTP ${answer.status}`;
  } catch (cause) {
    if (stop.aborted) throw cause;
    return "could not be reached, or broke off its answer";
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    if (signal.aborted) reject(signal.reason as Error);
  });
}

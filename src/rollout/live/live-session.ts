import { hash } from "node:crypto";
import type { BootstrapConfig } from "../../config-bootstrap.ts";
import { NightshiftError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { callKeyOf, canonicalArguments } from "../../trajectory/canonical-arguments.ts";
import { CONFIDENCE } from "../confidence.ts";
import type { Isolation, JournalEntry, RolloutEnd } from "../group.ts";
import type { MemberPlan } from "../plan.ts";
import type { ToolRequest, ToolResult, ToolSession, TurnAnswers } from "../tool-session.ts";
import type { CallBudget } from "./call-budget.ts";
import type { McpConnection } from "./mcp-connection.ts";
import { toolAnswerOf } from "./tool-answer.ts";

/** The same call with the same answer this often in a row is a loop. */
const LOOP = 3;

export interface LiveSessionOptions {
  config: Pick<BootstrapConfig, "maxAnswerBytes">;
  isolation: Isolation;
  /** Connects, and sets the sandbox back where something does: once, before the rollout's first call. */
  open: (signal?: AbortSignal) => Promise<McpConnection>;
  budget: CallBudget;
  log: Logger;
  now: () => number;
  monotonicMs: () => number;
}

/**
 * Sends one rollout's tool calls to a sandboxed server: they really happen there. A tool that there is not and arguments that are no object are the agent's mistakes and sent nowhere; what the
 * server refuses is an answer. A call without an answer, a sandbox that is not set back and a spent budget mask the rollout as infrastructure, whatever the agent did.
 */
export function createLiveSession(
  { scenario, rolloutId }: Pick<MemberPlan, "scenario" | "rolloutId">,
  options: LiveSessionOptions,
): ToolSession {
  const tools = new Map(scenario.start.tools.map((tool) => [tool.name, tool]));
  const notes = createNotes(options);
  let connection: Promise<McpConnection> | null = null;

  const send = async (tool: string, args: Record<string, unknown>, signal?: AbortSignal): Promise<ToolResult | { problem: string }> => {
    if (!options.budget.take()) return { problem: "the budget is spent" };
    try {
      connection ??= options.open(signal);
      const reply = await (await connection).call(tool, args, signal === undefined ? {} : { signal });
      if (reply.status === "failed") return reply;
      const refused = { content: [{ type: "text" as const, text: reply.status === "refused" ? reply.message : "" }], isError: true };
      return toolAnswerOf(reply.status === "answered" ? reply.result : refused, options.config.maxAnswerBytes);
    } catch (error) {
      if (error instanceof NightshiftError) return { problem: error.message };
      throw error;
    }
  };

  const answerOne = async ({ tool, arguments: raw }: ToolRequest, signal?: AbortSignal): Promise<ToolResult | RolloutEnd> => {
    const call = { tool, callKey: callKeyOf(tool, canonicalArguments(raw, tools.get(tool)?.parameters).value, {}) };
    if (notes.isLoop(call.callKey)) return { status: "truncated", cause: "loop" };
    const args = sentArguments(raw);
    if (args === null || !tools.has(tool)) {
      const error = tools.has(tool) ? "invalid arguments: no JSON object" : `unknown tool: ${tool.slice(0, 100)}`;
      return notes.take(call, "agent_error", { text: JSON.stringify({ error }), isError: true }, 0);
    }
    const startMs = options.monotonicMs();
    const answer = await send(tool, args, signal);
    if (!("problem" in answer)) return notes.take(call, "R6", answer, Math.round(options.monotonicMs() - startMs));
    options.log.warn({ scenario_id: scenario.id, rollout_id: rolloutId, tool, problem: answer.problem }, "sandbox gave no answer");
    return { status: "masked", cause: "infrastructure" };
  };

  return {
    async answer(turn, { signal } = {}): Promise<TurnAnswers> {
      const results: ToolResult[] = [];
      for (const request of turn) {
        const answer = await answerOne(request, signal);
        if ("status" in answer) return { results, end: answer };
        results.push(answer);
      }
      return { results, end: null };
    },
    journal: () => notes.journal,
    elapsedMs: () => notes.journal.reduce((sum, { latencyMs = 0 }) => sum + latencyMs, 0),
    async close() {
      await (await connection?.catch(() => null))?.close();
    },
  };
}

/** What a rollout asked and heard. */
function createNotes({ isolation, now }: Pick<LiveSessionOptions, "isolation" | "now">) {
  const journal: JournalEntry[] = [];
  const heard: { callKey: string; text: string }[] = [];
  let state = hash("sha256", "start").slice(0, 32);
  return {
    journal,
    take(call: Pick<JournalEntry, "tool" | "callKey">, rung: "R6" | "agent_error", answer: ToolResult, latencyMs: number): ToolResult {
      // Whether a tool writes is its server's word alone: every call may have changed the world.
      const stateAfter = rung === "R6" ? hash("sha256", `${state}|${call.callKey}`).slice(0, 32) : state;
      const confidence = rung === "R6" && isolation === "none" ? CONFIDENCE.sharedSandbox : 1;
      const { isError } = answer;
      const entry = { step: journal.length, ...call, rung, confidence, stateBefore: state, stateAfter, isError, latencyMs };
      journal.push(rung === "R6" ? { ...entry, recordedAtMs: now() } : entry);
      heard.push({ callKey: call.callKey, text: answer.text });
      state = stateAfter;
      return answer;
    },
    isLoop(callKey: string): boolean {
      const last = heard.slice(1 - LOOP);
      return last.length === LOOP - 1 && last.every((one) => one.callKey === callKey && one.text === last[0]?.text);
    },
  };
}

/** Arguments as they are sent: the agent's own, not the canonical form. Null where they are no object. */
function sentArguments(raw: unknown): Record<string, unknown> | null {
  let value = raw;
  try {
    if (typeof raw === "string") value = raw.trim() === "" ? {} : (JSON.parse(raw) as unknown);
  } catch {
    return null;
  }
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
}

import type { ToolCall } from "../../trace/call.ts";
import { isToolCall, isToolCallResponse, type Message, type ToolCallPart } from "../../trace/message.ts";
import type { Trajectory } from "../trajectory.ts";
import { argumentsKey, authorOf } from "./items.ts";
import { byStart } from "./spans.ts";

export interface Pairing {
  timings: Trajectory["toolTimings"];
  /** Executions that belong to this transcript. */
  executions: readonly ToolCall[];
  /** Names of tools whose call has no result, neither in the transcript nor on a tool span. */
  unanswered: readonly string[];
  /** Results could only be told apart by their order. */
  guessed: boolean;
}

/**
 * Pairs a transcript's tool calls with their results and with the spans that executed them: by call id, else in order by name and arguments.
 * Ids are counted, not only compared: some models number their calls anew in every turn.
 */
export function pairToolCalls(messages: readonly Message[], tools: readonly ToolCall[]): Pairing {
  const claim = createClaims(outermost(tools).toSorted(byStart));
  const pairing = { timings: [] as Trajectory["toolTimings"], executions: [] as ToolCall[], unanswered: [] as string[], guessed: false };
  let turn = -1;
  for (const [position, message] of messages.entries()) {
    if (authorOf(message.role) !== "assistant") continue;
    turn += 1;
    const calls = message.parts.filter(isToolCall);
    const answers = answersAfter(messages, position);
    const missing = calls.filter((call) => call.id === undefined || !answers.ids.has(call.id));
    // Several calls that no id ties to their results.
    if (calls.length > 1 && missing.some((call) => call.id === undefined || answers.withoutId > 0) && answers.withoutId > 0)
      pairing.guessed = true;
    let unidentified = answers.withoutId;
    for (const [index, call] of calls.entries()) {
      const execution = claim(call);
      if (execution !== undefined) {
        pairing.executions.push(execution);
        pairing.timings.push(timingOf(execution, call.id ?? `${turn}:${index}`));
      }
      if (!missing.includes(call)) continue;
      if (unidentified > 0) unidentified -= 1;
      else if (execution?.result === undefined || execution.result === null) pairing.unanswered.push(call.name);
    }
  }
  return pairing;
}

function timingOf(execution: ToolCall, callId: string): Trajectory["toolTimings"][number] {
  const { startNs, endNs, isError, traceId, spanId } = execution;
  return { callId, startedAtMs: Number(startNs / 1_000_000n), latencyMs: Number(endNs - startNs) / 1e6, isError, traceId, spanId };
}

/** Hands each span out once: first by id, then by name with equal arguments. */
function createClaims(tools: readonly ToolCall[]): (call: ToolCallPart) => ToolCall | undefined {
  const free = new Set(tools);
  return (call) => {
    const find = (fits: (tool: ToolCall) => boolean) => [...free].find(fits);
    const byId = call.id === undefined ? undefined : find((tool) => tool.toolCallId === call.id);
    const found =
      byId ??
      find(
        (tool) =>
          tool.toolName === call.name &&
          (tool.toolCallId === null || call.id === undefined) &&
          (tool.arguments === undefined || tool.arguments === null || argumentsKey(tool.arguments) === argumentsKey(call.arguments)),
      );
    if (found !== undefined) free.delete(found);
    return found;
  };
}

/** MCP instrumentation repeats the agent's execute_tool span inside it: the outer one is the execution. */
function outermost(tools: readonly ToolCall[]): ToolCall[] {
  const ids = new Map(tools.map((tool) => [`${tool.traceId}/${tool.spanId}`, tool]));
  return tools.filter((tool) => {
    const parent = ids.get(`${tool.traceId}/${tool.parentSpanId}`);
    return parent === undefined || parent.toolName !== tool.toolName;
  });
}

function answersAfter(messages: readonly Message[], position: number): { ids: ReadonlySet<string>; withoutId: number } {
  const ids = new Set<string>();
  let withoutId = 0;
  for (const message of messages.slice(position + 1)) {
    if (authorOf(message.role) === "assistant") break;
    for (const part of message.parts.filter(isToolCallResponse)) {
      if (part.id === undefined) withoutId += 1;
      else ids.add(part.id);
    }
  }
  return { ids, withoutId };
}

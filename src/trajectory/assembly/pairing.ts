import type { ToolCall } from "../../trace/call.ts";
import { isToolCall, isToolCallResponse, type Message } from "../../trace/message.ts";
import type { Trajectory } from "../trajectory.ts";
import type { Claim } from "./executions.ts";
import { authorOf } from "./items.ts";

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
 * Ids are counted, not only compared: some models number their calls anew in every turn. `verbsOf` tells the HTTP requests that an execution made.
 */
export function pairToolCalls(messages: readonly Message[], claim: Claim, verbsOf: (execution: ToolCall) => readonly string[]): Pairing {
  const pairing = { timings: [] as Trajectory["toolTimings"], executions: [] as ToolCall[], unanswered: [] as string[], guessed: false };
  let turn = -1;
  for (const [position, message] of messages.entries()) {
    if (authorOf(message.role) !== "assistant") continue;
    turn += 1;
    const calls = message.parts.filter(isToolCall);
    const answers = answersAfter(messages, position);
    const missing = new Set(calls.filter((call) => call.id === undefined || !answers.ids.has(call.id)));
    // Several calls that no id ties to their results.
    if (calls.length > 1 && missing.size > 0 && answers.withoutId > 0) pairing.guessed = true;
    let unidentified = answers.withoutId;
    for (const [index, call] of calls.entries()) {
      const execution = claim(call);
      if (execution !== undefined) {
        pairing.executions.push(execution);
        pairing.timings.push(timingOf(execution, call.id ?? `${turn}:${index}`, verbsOf(execution)));
      }
      if (!missing.has(call)) continue;
      if (unidentified > 0) unidentified -= 1;
      else if (execution?.result === undefined || execution.result === null) pairing.unanswered.push(call.name);
    }
  }
  return pairing;
}

function timingOf(execution: ToolCall, callId: string, verbs: readonly string[]): Trajectory["toolTimings"][number] {
  const { startNs, endNs, isError, traceId, spanId } = execution;
  const times = { startedAtMs: Number(startNs / 1_000_000n), latencyMs: Number(endNs - startNs) / 1e6 };
  return { callId, ...times, isError, traceId, spanId, ...(verbs.length === 0 ? {} : { httpMethods: [...verbs] }) };
}

/** Up to the agent's next turn. */
function answersAfter(messages: readonly Message[], position: number): { ids: ReadonlySet<string>; withoutId: number } {
  const ids = new Set<string>();
  let withoutId = 0;
  for (let at = position + 1; at < messages.length; at++) {
    const message = messages[at];
    if (message === undefined || authorOf(message.role) === "assistant") break;
    for (const part of message.parts.filter(isToolCallResponse)) {
      if (part.id === undefined) withoutId += 1;
      else ids.add(part.id);
    }
  }
  return { ids, withoutId };
}

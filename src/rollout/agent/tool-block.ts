import type { JournalEntry, RolloutEnd } from "../group.ts";
import type { ToolRequest, ToolResult, ToolSession } from "../tool-session.ts";

/** The tool calls of one model answer, which the agent then makes: one by one, at once, in any order, or some not at all. */
export interface ToolBlock {
  calls: readonly { request: ToolRequest; callKey: string }[];
  /** By place; null where not answered yet. */
  answers: ({ result: ToolResult; changedState: boolean } | null)[];
  /** Places whose answer the agent has. */
  claimed: Set<number>;
}

export type BlockAnswer = { status: "answered"; result: ToolResult } | { status: "ended"; end: RolloutEnd };

export function toolBlock(calls: ToolBlock["calls"]): ToolBlock {
  return { calls, answers: calls.map(() => null), claimed: new Set() };
}

/** The first place with this call that the agent has not made yet; −1 without one. (Nobody can tell which of two equal calls arrives.) */
export function placeIn({ calls, claimed }: ToolBlock, callKey: string): number {
  return calls.findIndex((call, place) => call.callKey === callKey && !claimed.has(place));
}

/**
 * The answer at `place`. Calls before it in the model's answer are answered first, so that the order in which parallel calls arrive changes nothing; those after
 * it wait until they are made, because an agent may leave them out.
 */
export async function answerPlace(block: ToolBlock, place: number, tools: ToolSession, signal: AbortSignal): Promise<BlockAnswer> {
  const requests = block.calls.map(({ request }) => request);
  for (const [at, request] of requests.entries()) {
    if (at > place) break;
    if (block.answers[at] != null) continue;
    const { results, end } = await tools.answer([request], { signal, block: requests });
    const [result] = results;
    if (end !== null || result === undefined) return { status: "ended", end: end ?? { status: "masked", cause: "replay_miss" } };
    block.answers[at] = { result, changedState: changesState(tools.journal().at(-1)) };
  }
  const answer = block.answers[place];
  if (answer == null) throw new RangeError(`a block of ${requests.length} calls has no place ${place}`);
  block.claimed.add(place);
  return { status: "answered", result: answer.result };
}

/** Whether later answers were given in a state that the agent did not make: a write was answered for the sake of the order, and the agent never made it. */
export function hasSkippedWrite({ answers, claimed }: ToolBlock): boolean {
  return answers.some((answer, place) => answer?.changedState === true && !claimed.has(place));
}

function changesState(entry: JournalEntry | undefined): boolean {
  return entry !== undefined && entry.stateBefore !== entry.stateAfter;
}

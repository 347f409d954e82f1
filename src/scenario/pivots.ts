import { hash } from "node:crypto";
import { isToolCall, textOf, type Message } from "../trace/message.ts";
import { pivotIdOf } from "../trajectory/record-tape.ts";
import type { TapeEntry } from "../trajectory/tape.ts";
import { mixed, type GroupHistory } from "./rank.ts";
import type { Scenario } from "./scenario.ts";

export interface PivotInput {
  /** Of mode `step`. */
  scenario: Scenario;
  /** The recorded conversation, and its tape. */
  messages: readonly Message[];
  entries: readonly TapeEntry[];
  /** By pivot id. */
  history: GroupHistory;
  /** Pivots wanted, at most. */
  count: number;
  seed: number;
}

/**
 * The model calls of a recorded conversation that are most worth sampling, each a scenario of its own: the messages before it, and what was answered then. Preferred are
 * calls whose earlier groups had mixed outcomes, then those beside a failed tool call; a group without spread comes last. A seeded draw breaks ties. In the order of
 * the conversation. Pure.
 */
export function pivotsOf(input: PivotInput): Scenario[] {
  const { scenario, messages } = input;
  const failed = new Set(input.entries.filter(({ isError }) => isError).map(({ turn }) => turn));
  const turns = messages.flatMap((message, at) => (message.role === "assistant" ? [at] : []));
  const pivots = turns.flatMap((at, call) => {
    const recorded = messages[at];
    if (recorded === undefined || isEmpty(recorded)) return [];
    const id = pivotIdOf(scenario.id, call);
    const past = input.history.get(id);
    // The call that failed, and the one that had to go on from there.
    const nearFailure = failed.has(call) || failed.has(call - 1);
    const draw = Number.parseInt(hash("sha256", `pivot|${input.seed}|${id}`).slice(0, 8), 16) / 2 ** 32;
    return [{ call, rank: mixed(past) + (nearFailure ? 1 : 0) + draw / 100 }];
  });
  return pivots
    .toSorted((a, b) => b.rank - a.rank)
    .slice(0, input.count)
    .toSorted((a, b) => a.call - b.call)
    .flatMap(({ call }) => pivotAt(scenario, messages, call) ?? []);
}

/** One model call of a recorded conversation as a scenario of its own; null where nothing was answered then. Pure. */
export function pivotAt(scenario: Scenario, messages: readonly Message[], call: number): Scenario | null {
  const at = messages.flatMap((message, place) => (message.role === "assistant" ? [place] : []))[call];
  const recorded = at === undefined ? undefined : messages[at];
  if (recorded === undefined || isEmpty(recorded)) return null;
  return {
    ...scenario,
    id: pivotIdOf(scenario.id, call),
    start: { ...scenario.start, messages: messages.slice(0, at), userTurns: [] },
    pivot: { call, recorded },
    recordedCalls: 1,
  };
}

/** An empty answer says nothing about what should have been done. */
function isEmpty(message: Message): boolean {
  return textOf(message) === "" && !message.parts.some(isToolCall);
}

import { textOf, type Message } from "../trace/message.ts";
import { canonicalArguments } from "../trajectory/canonical-arguments.ts";
import { turnsOf } from "../trajectory/record-tape.ts";
import type { JournalEntry, Rollout } from "./group.ts";

/** One tool call of a turn with its answer, and of a rollout where that came from. */
export interface CallView {
  tool: string;
  /** Canonical JSON. */
  arguments: string;
  /** Null where nobody answered. */
  result: string | null;
  /** Null in a recording, and where a rollout ended before the call was asked. */
  answered: Pick<JournalEntry, "rung" | "servedFrom" | "madeFrom" | "confidence" | "isError"> | null;
}

/** What an assistant said and called in one turn, and what the user said before it. */
export interface TurnView {
  user: string | null;
  text: string;
  calls: readonly CallView[];
}

export interface TurnPair {
  turn: number;
  recorded: TurnView | null;
  rollout: TurnView | null;
  /** `same`: equal calls with equal answers, and equal words. `words`: only the words differ. */
  difference: "same" | "words" | "answers" | "calls" | "only_recorded" | "only_rollout";
}

/** A rollout beside the conversation that it replays, by assistant turn. */
export interface SideBySide {
  turns: readonly TurnPair[];
  /** First turn whose calls or answers differ from the recorded ones; null where none does. */
  divergedAt: number | null;
}

/** Pure. Texts are as they came, of any length: whoever shows them escapes and cuts. */
export function sideBySide(recorded: readonly Message[], rollout: Pick<Rollout, "messages" | "journal">): SideBySide {
  const theirs = viewsOf(recorded, null);
  const ours = viewsOf(rollout.messages, rollout.journal);
  const turns = Array.from({ length: Math.max(theirs.length, ours.length) }, (_, turn): TurnPair => {
    const [one, other] = [theirs[turn] ?? null, ours[turn] ?? null];
    return { turn, recorded: one, rollout: other, difference: differenceOf(one, other) };
  });
  const diverged = turns.find(({ difference }) => difference !== "same" && difference !== "words");
  return { turns, divergedAt: diverged?.turn ?? null };
}

function viewsOf(messages: readonly Message[], journal: readonly JournalEntry[] | null): TurnView[] {
  const calls = new Map(turnsOf(messages).map((turn) => [turn.index, turn.calls]));
  const views: TurnView[] = [];
  let user: string | null = null;
  // Calls are answered in order, and a rollout ends where one is not.
  let asked = 0;
  for (const message of messages) {
    if (message.role === "user") user = textOf(message);
    if (message.role !== "assistant") continue;
    const made = (calls.get(views.length) ?? []).map(({ part, result }): CallView => {
      const answered = answerOf(journal?.[asked], part.name);
      asked += 1;
      return { tool: part.name, arguments: canonicalArguments(part.arguments, undefined).json, result, answered };
    });
    views.push({ user, text: textOf(message), calls: made });
    user = null;
  }
  return views;
}

function answerOf(entry: JournalEntry | undefined, tool: string): CallView["answered"] {
  if (entry === undefined || entry.tool !== tool) return null;
  const { rung, servedFrom, madeFrom, confidence, isError } = entry;
  return {
    rung,
    confidence,
    isError,
    ...(servedFrom === undefined ? {} : { servedFrom }),
    ...(madeFrom === undefined ? {} : { madeFrom }),
  };
}

function differenceOf(recorded: TurnView | null, rollout: TurnView | null): TurnPair["difference"] {
  if (recorded === null) return "only_rollout";
  if (rollout === null) return "only_recorded";
  const asked = ({ calls }: TurnView): string => JSON.stringify(calls.map((call) => [call.tool, call.arguments]));
  const told = ({ calls }: TurnView): string => JSON.stringify(calls.map(({ result }) => result));
  if (asked(recorded) !== asked(rollout)) return "calls";
  if (told(recorded) !== told(rollout)) return "answers";
  return recorded.text === rollout.text ? "same" : "words";
}

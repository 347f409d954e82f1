import type { ReplayView } from "../api/replay.ts";
import type { CallView, TurnPair, TurnView } from "../rollout/side-by-side.ts";
import type { CliContext } from "./context.ts";
import { fields, oneLine, paint } from "./print.ts";

/** Lines fit a terminal of 80 columns. */
const WIDTH = 78;

const DIFFERENCE: Readonly<Record<TurnPair["difference"], string>> = {
  same: "as recorded",
  words: "other words",
  answers: "OTHER ANSWERS",
  calls: "OTHER CALLS",
  only_recorded: "only in the recording",
  only_rollout: "only in the rollout",
};

/** A rollout beside its recording, turn by turn: what is the same once, what differs one below the other, and where every answer came from. */
export function besideRecording(answer: Extract<ReplayView, { status: "rollout" }>, full: boolean, context: CliContext): string {
  const { groupId, trajectoryId, verdict, member, members, divergedAt, turns } = answer;
  const { end, reward } = member;
  const head = {
    group: `${groupId}, ${verdict}`,
    recording: trajectoryId ?? "none: its task was made up",
    member: `${member.index} of 0 to ${members - 1}`,
    end: end.status === "completed" ? "completed" : `${end.status}: ${end.cause}`,
    reward: reward?.toFixed(3),
    diverged: divergedAt === null ? "never" : `at turn ${divergedAt}`,
  };
  const width = full ? Number.MAX_SAFE_INTEGER : WIDTH;
  const blocks = turns.map((pair) => block(pair, width, pair.turn === divergedAt, context));
  return [fields(head, context), ...blocks].join("\n\n");
}

function block({ turn, recorded, rollout, difference }: TurnPair, width: number, isFirst: boolean, context: CliContext): string {
  const title = `turn ${turn}  ${DIFFERENCE[difference]}${isFirst ? ", here it diverges" : ""}`;
  const isSame = difference === "same";
  const shown = isSame
    ? lines(rollout, 2, width, context)
    : [...side("recorded", recorded, width, context), ...side("rollout", rollout, width, context)];
  return [paint("bold", title, context), ...shown].join("\n");
}

function side(name: string, view: TurnView | null, width: number, context: CliContext): string[] {
  return view === null ? [] : [`  ${paint("dim", name, context)}`, ...lines(view, 4, width, context)];
}

function lines(view: TurnView | null, indent: number, width: number, context: CliContext): string[] {
  if (view === null) return [];
  const line = (text: string): string => `${" ".repeat(indent)}${oneLine(text, width - indent)}`;
  return [
    ...(view.user === null ? [] : [line(`user: ${view.user}`)]),
    ...(view.text.trim() === "" ? [] : [line(`says: ${view.text}`)]),
    ...view.calls.flatMap((call) => [
      line(`→ ${call.tool} ${call.arguments}`),
      line(`← ${call.result ?? "(no answer)"}`),
      ...(call.answered === null
        ? []
        : [paint("dim", `${" ".repeat(indent + 2)}${oneLine(sourceOf(call.answered), width - indent - 2)}`, context)]),
    ]),
  ];
}

function sourceOf({ rung, servedFrom, madeFrom = [], confidence, isError }: NonNullable<CallView["answered"]>): string {
  const from =
    servedFrom === undefined
      ? madeFrom.length === 0
        ? ""
        : `, made from ${madeFrom.join(", ")}`
      : `, entry ${servedFrom.entry} of ${servedFrom.tape}`;
  return `${rung}, confidence ${confidence.toFixed(2)}${isError ? ", an error" : ""}${from}`;
}

import type { Command } from "commander";
import type { ReplayView } from "../api/replay.ts";
import { nightshiftError } from "../errors.ts";
import { clientOptions, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { describePlayed } from "./played-text.ts";
import { counts, fields, oneLine, percent, table } from "./print.ts";
import { besideRecording } from "./replay-text.ts";

const EXAMPLES = `
A conversation: plays its recorded turns again and compares every tool answer with the recording, byte for byte. Exit code 1 when an answer
differs, or the conversation cannot be replayed.
A group: how faithful its tool answers were, and its members; with --member, one of them turn by turn beside the recording that it replayed.

Examples:
  nightshift replay 01JD…                    a conversation's key or id, or a trajectory's id
  nightshift replay 8c41…                    a group of \`nightshift groups list\`
  nightshift replay 8c41… --member 2 --full  where member 2 left its recording, and what it was told instead`;

interface Options extends ClientOptions {
  member?: string;
  full?: true;
}

/** Characters of one tool answer where `--full` is not asked for. */
const MAX_CHARS = 300;

/** `nightshift replay <conversation>`: where every tool answer came from. */
export function replayCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  clientOptions(program.command("replay <conversation>"))
    .description("replay a conversation against its own recording, or show a group's replays")
    .option("--member <n>", "of a group: this member beside its recording")
    .option("--full", "texts in full length")
    .addHelpText("after", EXAMPLES)
    .action(async (reference: string, { member, full, ...options }: Options) => {
      if (member !== undefined && !/^\d{1,6}$/.test(member)) {
        throw nightshiftError("usage_invalid", { problem: `--member ${member} is not the number of a member, from 0` });
      }
      const query = member === undefined ? "" : `?member=${member}`;
      const answer = await printAnswer(
        options,
        context,
        (client) => client.post<ReplayView>(`/v1/replay/${encodeURIComponent(reference)}${query}`, {}),
        (told) => describe(told, full === true, context),
      );
      finish(isTrue(answer) ? 0 : 1);
    });
}

function isTrue(answer: ReplayView): boolean {
  if (answer.status === "replayed") return answer.mismatches.length === 0 && answer.unused === 0;
  return answer.status !== "not_trainable";
}

function describe(answer: ReplayView, full: boolean, context: CliContext): string {
  switch (answer.status) {
    case "not_trainable":
      return `trajectory ${answer.trajectoryId} cannot be replayed: ${answer.reasons.join(", ")}\n  fix: \`nightshift report\` has the mend for each reason.`;
    case "replayed":
      return describeCheck(answer, full, context);
    case "group":
      return describeGroup(answer, context);
    case "rollout":
      return besideRecording(answer, full, context);
    default:
      return answer satisfies never;
  }
}

function describeCheck(answer: Extract<ReplayView, { status: "replayed" }>, full: boolean, context: CliContext): string {
  const { trajectoryId, split, calls, equal, unused, mismatches, callsByRung, answers } = answer;
  const head = {
    ...{ trajectory: trajectoryId, split },
    "tool calls": calls,
    "byte for byte": `${equal} of ${calls}`,
    "answers by rung": counts(callsByRung) || "no tool calls",
    "recordings unused": unused,
  };
  const chars = full ? Number.MAX_SAFE_INTEGER : MAX_CHARS;
  const perCall = answers.map(({ turn, index, tool, rung, isEqual }) => [turn, index, tool, rung, isEqual ? "equal" : "DIFFERS"]);
  const differences = mismatches.flatMap(({ turn, tool, recorded, served }) => [
    "",
    `turn ${turn}, ${oneLine(tool)}`,
    `  recorded  ${oneLine(recorded, chars)}`,
    `  served    ${served === null ? "(no answer)" : oneLine(served, chars)}`,
  ]);
  return [fields(head, context), "", table(["turn", "call", "tool", "rung", "bytes"], perCall, context), ...differences].join("\n");
}

function describeGroup(answer: Extract<ReplayView, { status: "group" }>, context: CliContext): string {
  const { groupId, trajectoryId, iteration, verdict, played, fidelity, members } = answer;
  const { divergenceStep, divergenceDepth, reasons = [] } = fidelity;
  const depth = divergenceDepth === undefined ? "" : `, ${divergenceDepth.toFixed(1)} calls to the end`;
  const head = {
    ...{ group: groupId, recording: trajectoryId ?? "none: its task was made up", iteration, verdict },
    played: describePlayed(played),
    fidelity: [fidelity.decision, ...reasons].join(", "),
    weight: fidelity.weight.toFixed(3),
    answers: `${percent(fidelity.coverage)} covered, ${percent(fidelity.realShare)} recorded, ${percent(fidelity.simulatedShare)} simulated`,
    "by rung": counts(fidelity.callsByRung) || "no tool calls",
    "left its tape": divergenceStep === null ? "never" : `at call ${divergenceStep}${depth}`,
    staleness: `${(fidelity.stalenessMs / 3_600_000).toFixed(1)} h`,
    unmasked: `${fidelity.unmasked} of ${members.length}`,
  };
  const rows = members.map(({ index, reward, end, callsByRung }) => [
    index,
    reward?.toFixed(3),
    end.status === "completed" ? "completed" : `${end.status}: ${end.cause}`,
    counts(callsByRung) || "no tool calls",
  ]);
  return [fields(head, context), "", table(["member", "reward", "end", "answers by rung"], rows, context)].join("\n");
}

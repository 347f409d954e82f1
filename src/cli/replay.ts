import type { Command } from "commander";
import type { ReplayCheck } from "../rollout/replay-check.ts";
import type { Reason } from "../trajectory/trajectory.ts";
import { clientOptions, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { counts, fields, oneLine, table } from "./print.ts";

const EXAMPLES = `
Plays the recorded turns again and compares every tool answer with the recording, byte for byte.
Exit code 1 when an answer differs, or the conversation cannot be replayed.

Examples:
  nightshift replay 01JD…      a conversation's key or id, or a trajectory's id
  nightshift replay 01JD… --json`;

type Answer =
  | { trajectoryId: string; status: "not_trainable"; reasons: Reason[] }
  | ({ trajectoryId: string; status: "replayed"; split: string } & ReplayCheck);

/** `nightshift replay <conversation>`: self-replay, with where every answer came from. */
export function replayCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  clientOptions(program.command("replay <conversation>"))
    .description("replay a conversation against its own recording")
    .addHelpText("after", EXAMPLES)
    .action(async (reference: string, options: ClientOptions) => {
      const answer = await printAnswer(
        options,
        context,
        (client) => client.post<Answer>(`/v1/replay/${encodeURIComponent(reference)}`, {}),
        (told) => describe(told, context),
      );
      finish(answer.status === "replayed" && answer.mismatches.length === 0 && answer.unused === 0 ? 0 : 1);
    });
}

function describe(answer: Answer, context: CliContext): string {
  if (answer.status === "not_trainable") {
    return `trajectory ${answer.trajectoryId} cannot be replayed: ${answer.reasons.join(", ")}\n  fix: \`nightshift report\` has the mend for each reason.`;
  }
  const { trajectoryId, split, calls, equal, unused, mismatches, callsByRung, answers } = answer;
  const head = {
    ...{ trajectory: trajectoryId, split },
    "tool calls": calls,
    "byte for byte": `${equal} of ${calls}`,
    "answers by rung": counts(callsByRung) || "no tool calls",
    "recordings unused": unused,
  };
  const perCall = answers.map(({ turn, index, tool, rung, isEqual }) => [turn, index, tool, rung, isEqual ? "equal" : "DIFFERS"]);
  const differences = mismatches.flatMap(({ turn, tool, recorded, served }) => [
    "",
    `turn ${turn}, ${oneLine(tool)}`,
    `  recorded  ${oneLine(recorded, 300)}`,
    `  served    ${served === null ? "(no answer)" : oneLine(served, 300)}`,
  ]);
  return [fields(head, context), "", table(["turn", "call", "tool", "rung", "bytes"], perCall, context), ...differences].join("\n");
}

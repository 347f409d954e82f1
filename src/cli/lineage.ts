import type { Command } from "commander";
import type { Lineage } from "../api/lineage.ts";
import { clientOptions, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { fields, table } from "./print.ts";

const EXAMPLES = `
Examples:
  nightshift lineage chatcmpl-91f…                       a response id that your agent received
  nightshift lineage shop-support-3-8d1f0a2b9c3e         an adapter
  nightshift lineage 01JD… --json                        a conversation`;

const SHOWN_PER_ADAPTER = 20;

/** `nightshift lineage <reference>`: from an answer or an adapter back to the conversations that taught it. */
export function lineageCommand(program: Command, context: CliContext): void {
  clientOptions(program.command("lineage <reference>"))
    .description("from an answer or an adapter back to the conversations that taught it")
    .addHelpText("after", EXAMPLES)
    .action(async (reference: string, options: ClientOptions) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<Lineage>(`/v1/lineage/${encodeURIComponent(reference)}`),
        (lineage) => describe(lineage, context),
      );
    });
}

function describe({ answer, adapters, conversations }: Lineage, context: CliContext): string {
  const lines =
    answer === null
      ? []
      : [
          fields(
            { answer: answer.trajectoryId, conversation: answer.conversationKey, "served by": answer.adapterDigest ?? "unknown" },
            context,
          ),
          "",
        ];
  if (adapters.length === 0) return [...lines, "No adapter had a part in it: the base model answered."].join("\n");
  for (const { name, runId, iteration, learnedFrom } of adapters) {
    lines.push(fields({ adapter: name, run: runId, iteration, groups: learnedFrom.length }, context));
    const rows = learnedFrom
      .slice(0, SHOWN_PER_ADAPTER)
      .map((group) => [group.group_id, group.iteration, group.trajectory_id, group.conversation_id]);
    lines.push(table(["group", "iteration", "trajectory", "conversation"], rows, context));
    if (learnedFrom.length > SHOWN_PER_ADAPTER) lines.push(`… and ${learnedFrom.length - SHOWN_PER_ADAPTER} more (--json has them all)`);
    lines.push("");
  }
  return [...lines, `taught by ${conversations} conversations in all`].join("\n");
}

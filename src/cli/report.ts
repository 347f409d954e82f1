import type { Command } from "commander";
import type { Report } from "../api/report.ts";
import { chooseAgent } from "./agent.ts";
import { clientOptions, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { mendOf } from "../trajectory/mend.ts";
import { UNKNOWN_AGENT } from "../trajectory/match-agent.ts";
import { fields, paint, percent, table } from "./print.ts";

const EXAMPLES = `
Examples:
  nightshift report
  nightshift report --agent shop-support --json`;

/** `nightshift report`: the funnel, why conversations do not train, and what would mend them. */
export function reportCommand(program: Command, context: CliContext): void {
  clientOptions(program.command("report"))
    .description("the funnel of captured conversations, with reasons and mends")
    .option("-a, --agent <agent>", "agent; may be left out where there is one; `unknown`: what matches none")
    .addHelpText("after", EXAMPLES)
    .action(async (options: ClientOptions & { agent?: string }) => {
      await printAnswer(
        options,
        context,
        async (client) => client.get<Report>("/v1/report", { agent: await chooseAgent(client, options.agent, UNKNOWN_AGENT) }),
        (report) => describe(report, context),
      );
    });
}

function describe({ captured, complete, trainable, reasons, mends, dialects, examined, unmatched }: Report, context: CliContext): string {
  const share = (count: number) => (captured === 0 ? `${count}` : `${count}  (${percent(count / captured)})`);
  const lines = [fields({ captured, open: captured - complete, complete: share(complete), trainable: share(trainable) }, context)];
  if (Object.keys(reasons).length > 0) {
    lines.push("", paint("bold", "Complete conversations that do not train, by reason", context));
    lines.push(table(["reason", "conversations"], Object.entries(reasons), context));
  }
  if (examined > 0) {
    lines.push("", paint("bold", `What the newest ${examined} trajectories look like on the wire`, context));
    lines.push(
      table(
        ["dialect", "trajectories", "trainable"],
        dialects.map((one) => [one.dialect, one.trajectories, percent(one.trainable / one.trajectories)]),
        context,
      ),
    );
  }
  for (const { reason, trajectories, mend } of mends) lines.push("", `${reason} (${trajectories})`, `  fix: ${mend}`);
  if (unmatched > 0 && reasons.unknown_agent === undefined) {
    lines.push("", `${unmatched} ${unmatched === 1 ? "conversation matches" : "conversations match"} no agent of the config`);
    lines.push(`  fix: ${mendOf("unknown_agent", [])} \`nightshift report --agent ${UNKNOWN_AGENT}\` shows them.`);
  }
  return lines.join("\n");
}

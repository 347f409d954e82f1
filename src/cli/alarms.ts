import type { Command } from "commander";
import type { AlarmView } from "../api/alarms.ts";
import type { Check } from "../reward/hacking/examine.ts";
import { clientOptions, createClient, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { oneLine, percent, table, when } from "./print.ts";

const EXAMPLES = `
An alarm says that a night's rewards seem to pay for something beside the task, or that a second judge sees them otherwise. Its candidate waits until somebody has looked at the rollouts
(\`nightshift groups show\`) and acknowledged it, or until a newer night takes its place.

Examples:
  nightshift alarms list
  nightshift alarms list --run 0193f3… --all
  nightshift alarms ack 0193f3… phrase --reason "the policy's own wording since Monday"`;

interface ListOptions extends ClientOptions {
  agent?: string;
  run?: string;
  all?: true;
}

/** `nightshift alarms list|ack`. */
export function alarmsCommand(program: Command, context: CliContext): void {
  const alarms = program
    .command("alarms")
    .description("what speaks against a night's rewards; candidates wait for the answer")
    .addHelpText("after", EXAMPLES);
  clientOptions(alarms.command("list"))
    .description("open ones, newest first")
    .option("-a, --agent <agent>", "only this agent's")
    .option("--run <run>", "only this run's")
    .option("--all", "acknowledged ones too")
    .action(async ({ agent, run, all, ...options }: ListOptions) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<{ alarms: AlarmView[] }>("/v1/alarms", { agent, run, open: all === true ? "false" : "true" }),
        (answer) =>
          table(
            ["run", "alarm", "raised", "what was seen", "acknowledged"],
            answer.alarms.map((alarm) => [alarm.runId, alarm.id, when(alarm.raisedAtMs), seen(alarm), acknowledgement(alarm)]),
            context,
          ),
      );
    });
  clientOptions(alarms.command("ack <run> <alarm>"))
    .description("let the candidate go on to the gate all the same")
    .requiredOption("--reason <text>", "why it is no hack; kept with the alarm and in the audit log")
    .option("--actor <name>", "who acts, for the audit log", context.env["USER"] ?? "operator")
    .action(async (run: string, alarm: string, options: ClientOptions & { reason: string; actor: string }) => {
      const path = `/v1/runs/${encodeURIComponent(run)}/alarms/${encodeURIComponent(alarm)}/acknowledgement`;
      const { reason, actor } = options;
      const answer = await createClient(options, context).post<{ status: string }>(path, { reason, actor });
      const told =
        answer.status === "acknowledged"
          ? `alarm ${alarm} of run ${run} acknowledged`
          : `alarm ${alarm} of run ${run} had been acknowledged`;
      context.out(options.json ? JSON.stringify(answer) : told);
    });
}

function seen({ check, phrases }: AlarmView): string {
  if (check.suspicion !== "phrase") return describeCheck(check);
  const [first] = phrases;
  if (first === undefined) return "a new phrase";
  const words = first.words === null ? "a phrase that is no longer stored" : `"${oneLine(first.words, 50)}"`;
  return `${words} in ${percent(first.topShare)} of the best, ${percent(first.baseShare)} of the base's`;
}

function acknowledgement({ acknowledged }: Pick<AlarmView, "acknowledged">): string {
  return acknowledged === null ? "OPEN" : `${acknowledged.by}, ${when(acknowledged.atMs)}: ${acknowledged.reason}`;
}

/** One suspicion in a few words. */
export function describeCheck({ suspicion, status, explained, direction, groups, comparisons, needed, agreement }: Check): string {
  const name = suspicion.replaceAll("_", " ");
  const agreed =
    agreement === undefined
      ? ""
      : `${percent(agreement.value)} of pairs in the same order, ${percent(agreement.low)} to ${percent(agreement.high)}`;
  if (status === "not_enough_data") {
    const unit = suspicion === "phrase" ? "comparable top attempts" : "comparisons";
    return `${name}: not enough data (${groups} of ${needed.groups} groups, ${comparisons} of ${needed.comparisons} ${unit})${agreed === "" ? "" : `, ${agreed}`}`;
  }
  if (agreement !== undefined) return `${name}: ${status === "alarm" ? "ALARM, " : ""}${agreed} (${comparisons} of ${groups} groups)`;
  if (explained === null) return `${name}: ${status === "alarm" ? "ALARM" : "fine"}`;
  const way = direction === null ? "" : direction > 0 ? ", more is paid more" : ", less is paid more";
  return `${name}: ${status === "alarm" ? "ALARM, " : ""}${percent(explained)} of the reward${way}`;
}

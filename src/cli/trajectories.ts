import type { Command } from "commander";
import type { Feedback } from "../trajectory/feedback.ts";
import type { Trajectory } from "../trajectory/trajectory.ts";
import type { TrajectorySummary } from "../trajectory/trajectory-store.ts";
import { chooseAgent } from "./agent.ts";
import { clientOptions, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { fields, table, when } from "./print.ts";
import { transcript } from "./transcript.ts";

const EXAMPLES = `
Examples:
  nightshift trajectories list --trainable false
  nightshift trajectories show 6f0c…`;

type Page = { items: TrajectorySummary[]; next: string | null };
type ListOptions = ClientOptions & { agent?: string; limit: string; trainable?: string; cursor?: string };

/** `nightshift trajectories list|show`. */
export function trajectoriesCommand(program: Command, context: CliContext): void {
  const trajectories = program
    .command("trajectories")
    .description("captured conversations with their verdicts")
    .addHelpText("after", EXAMPLES);
  clientOptions(trajectories.command("list"))
    .description("newest first")
    .option("-a, --agent <agent>", "agent; may be left out where there is one")
    .option("--trainable <true|false>", "only those that can teach, or only those that cannot")
    .option("--limit <n>", "at most this many", "20")
    .option("--cursor <cursor>", "continue after the page before")
    .action(async ({ agent, limit, trainable, cursor, ...options }: ListOptions) => {
      await printAnswer(
        options,
        context,
        async (client) => client.get<Page>("/v1/trajectories", { agent: await chooseAgent(client, agent), limit, trainable, cursor }),
        (page) => describePage(page, context),
      );
    });
  clientOptions(trajectories.command("show <trajectory>"))
    .description("the transcript with verdict and feedback")
    .action(async (id: string, options: ClientOptions) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<Trajectory & { feedback: Feedback[] }>(`/v1/trajectories/${encodeURIComponent(id)}`),
        (trajectory) => describe(trajectory, context),
      );
    });
}

function describePage({ items, next }: Page, context: CliContext): string {
  const rows = items.map(({ id, conversationKey, endedAtMs, messageCount, verdict }) => [
    id,
    conversationKey,
    when(endedAtMs),
    messageCount,
    verdict.trainable ? "trainable" : verdict.reasons.join(", "),
  ]);
  const more = next === null ? [] : ["", `more: --cursor ${next}`];
  return [table(["trajectory", "conversation", "ended", "messages", "verdict"], rows, context), ...more].join("\n");
}

function describe(trajectory: Trajectory & { feedback: Feedback[] }, context: CliContext): string {
  const { id, version, conversationKey, agent, subject, startedAtMs, endedAtMs, model, adapterDigest, assignment, verdict } = trajectory;
  const head = fields(
    {
      ...{
        trajectory: id,
        version,
        conversation: conversationKey,
        agent,
        subject,
        started: when(startedAtMs),
        ended: when(endedAtMs),
        model,
      },
      adapter: adapterDigest,
      arm: assignment === null ? null : `${assignment.arm} at p ${assignment.probability}${assignment.weakKey ? ", weak key" : ""}`,
      dialects: trajectory.dialects.join(", "),
      verdict: verdict.trainable ? "trainable" : verdict.reasons.join(", "),
    },
    context,
  );
  const feedback =
    trajectory.feedback.length === 0
      ? "no feedback"
      : table(
          ["feedback", "source", "value", "at"],
          trajectory.feedback.map(({ name, source, value, atMs }) => [name, source, value, when(atMs)]),
          context,
        );
  return [head, "", transcript(trajectory.messages, context), "", feedback].join("\n");
}

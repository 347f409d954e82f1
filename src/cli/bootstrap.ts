import { readFileSync } from "node:fs";
import type { Command } from "commander";
import type { StartedRun } from "../api/runs.ts";
import { nightshiftError } from "../errors.ts";
import type { BootstrapDryRun } from "../training/bootstrap-plan.ts";
import { chooseAgent } from "./agent.ts";
import { clientOptions, createClient, type ClientOptions } from "./client.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { followWork } from "./lines.ts";
import { counts, fields, oneLine } from "./print.ts";
import { followToEnd } from "./run.ts";
import { describeStart } from "./run-text.ts";

const NOTES = `
The agent has no recordings yet, but its tools' MCP server has a sandbox: agents.<name>.bootstrap in the config names it. Tasks are made up
from the tool list, played against the sandbox, where writes really happen, judged and trained as in any night. agents.<name>.bootstrap.sandboxed: true
is your word that it is a sandbox; without it nothing is run.

Examples:
  nightshift bootstrap --dry-run           list the tools, make the tasks up and print them; no tool is called
  nightshift bootstrap --wait              one run; exit code 1 when it failed
  nightshift bootstrap --tasks 32 --system-prompt-file prompt.txt`;

interface Options extends ClientOptions {
  agent?: string;
  dryRun?: true;
  wait?: true;
  tasks?: string;
  systemPromptFile?: string;
  forceJudge?: true;
  actor: string;
}

/** `nightshift bootstrap`: one run of an agent without recordings, against its sandbox. */
export function bootstrapCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  clientOptions(program.command("bootstrap"))
    .description("learn from made-up tasks against a sandboxed MCP server")
    .option("-a, --agent <agent>", "agent; may be left out where there is one")
    .option("--dry-run", "print the tasks, and run nothing")
    .option("--wait", "follow the run until it ends")
    .option("--tasks <n>", "tasks to make up, in place of bootstrap.tasks")
    .option("--system-prompt-file <file>", "the agent's system prompt, in place of bootstrap.systemPrompt")
    .option("--force-judge", "run although the judge agrees with people less than judge.minAgreement; recorded with the run")
    .option("--actor <name>", "who forces it, for the run's record", context.env["USER"] ?? "operator")
    .addHelpText("after", NOTES)
    .action(async (options: Options) => {
      const wish = wishOf(options);
      const client = createClient(options, context);
      const asked = { agent: await chooseAgent(client, options.agent), ...wish };
      if (options.dryRun) {
        const order = { path: "/v1/bootstrap", body: { ...asked, dryRun: true }, of: "tasks made up", about: "dry run" };
        const { plan } = await followWork<{ event: "planned"; plan: BootstrapDryRun }>(client, order, context);
        context.out(options.json ? JSON.stringify(plan) : describePlan(plan, context));
        return;
      }
      const forced = options.forceJudge ? { forceJudge: true, actor: options.actor } : {};
      const started = await client.post<StartedRun>("/v1/bootstrap", { ...asked, ...forced });
      if (options.wait) {
        finish(await followToEnd(client, started.runId, { context, json: options.json === true }));
        return;
      }
      context.out(options.json ? JSON.stringify(started) : describeStart(started));
    });
}

/** @throws NightshiftError `usage_invalid` */
function wishOf({ tasks, systemPromptFile }: Options): { tasks?: number; systemPrompt?: string } {
  const count = tasks === undefined ? undefined : Number(tasks);
  if (count !== undefined && (!Number.isInteger(count) || count < 2 || count > 512))
    throw nightshiftError("usage_invalid", { problem: `--tasks ${tasks} is no whole number from 2 to 512` });
  const systemPrompt = systemPromptFile === undefined ? undefined : readText(systemPromptFile);
  return { ...(count === undefined ? {} : { tasks: count }), ...(systemPrompt === undefined ? {} : { systemPrompt }) };
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw nightshiftError(
      "usage_invalid",
      { problem: `--system-prompt-file ${file} cannot be read: ${(cause as Error).message}` },
      { cause },
    );
  }
}

const WORLDS = {
  connection: "each has a world of its own",
  reset: "the sandbox is set back before each; one after another",
  none: "nothing sets the sandbox back: each meets what those before it wrote; one after another",
} as const satisfies Record<BootstrapDryRun["isolation"], string>;

function describePlan(plan: BootstrapDryRun, context: CliContext): string {
  const { agent, tools, tasks, asked, unusable, leftOut, isolation, iterations, rollouts, maxToolCalls } = plan;
  const held = tasks.filter(({ split }) => split === "held_out").length;
  const facts = fields(
    {
      agent,
      tools: oneLine(tools.map(({ name }) => name).join(", "), 300),
      "tasks to train on": tasks.length - held,
      "held-out tasks for the gate": held,
      "left out": counts({ ...leftOut, unusable }) || "none",
      "questions asked": asked,
      "rollouts' worlds": WORLDS[isolation],
      iterations,
      rollouts,
      "tool calls, at most": maxToolCalls,
    },
    context,
  );
  const lines = tasks.map((task) => {
    const takes = oneLine(task.tools.join(", "), 60);
    return `${task.split === "train" ? "train   " : "held out"} ${task.difficulty}  ${oneLine(task.text, 300)}  (${takes})`;
  });
  return [facts, "", ...lines].join("\n");
}

import type { Command } from "commander";
import type { ListedRun } from "../api/runs.ts";
import type { RunView } from "../api/views.ts";
import type { Run } from "../training/run-store.ts";
import { describeCheck } from "./alarms.ts";
import { clientOptions, printAnswer, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { counts, fields, table, when } from "./print.ts";
import { describeReplay } from "./replay-run-text.ts";
import { alarmLines, describeOutcome, describeSpending, describeStep, forcedLine, runState } from "./run-text.ts";

const EXAMPLES = `
Examples:
  nightshift runs list --limit 5
  nightshift runs show 0193f3…
  nightshift runs cancel 0193f3…`;

/** `nightshift runs list|show|cancel`. */
export function runsCommand(program: Command, context: CliContext): void {
  const runs = program.command("runs").description("nights: list them, show one with its steps, cancel one").addHelpText("after", EXAMPLES);
  clientOptions(runs.command("list"))
    .description("newest first")
    .option("-a, --agent <agent>", "only this agent's")
    .option("--limit <n>", "at most this many", "20")
    .action(async ({ agent, limit, ...options }: ClientOptions & { agent?: string; limit: string }) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<{ runs: ListedRun[] }>("/v1/runs", { agent, limit }),
        (answer) =>
          table(
            ["run", "agent", "state", "started", "outcome"],
            answer.runs.map((run) => [run.id, run.agent, runState(run), when(run.startedAtMs), outcomeOf(run)]),
            context,
          ),
      );
    });
  clientOptions(runs.command("show <run>"))
    .description("one run with its steps and iterations")
    .action(async (id: string, options: ClientOptions) => {
      await printAnswer(
        options,
        context,
        (client) => client.get<RunView>(`/v1/runs/${encodeURIComponent(id)}`),
        (run) => describe(run, context),
      );
    });
  cancelCommand(runs, context);
}

/** `nightshift runs cancel`. */
function cancelCommand(runs: Command, context: CliContext): void {
  clientOptions(runs.command("cancel <run>"))
    .description("end a run that is under way or waits: what it has learned is not kept")
    .option("--actor <name>", "who does it, for the audit log", context.env["USER"] ?? "operator")
    .action(async (id: string, { actor, ...options }: ClientOptions & { actor: string }) => {
      await printAnswer(
        options,
        context,
        (client) => client.post<{ state: Run["state"] }>(`/v1/runs/${encodeURIComponent(id)}/cancellation`, { actor }),
        ({ state }) => (state === "cancelled" ? `run ${id} is cancelled` : `run ${id} had ended before: ${state}`),
      );
    });
}

function outcomeOf({ outcome }: Run): string {
  if (outcome === null) return "";
  if (outcome.kind === "candidate") return outcome.adapterName;
  return outcome.kind === "failed" ? outcome.message : outcome.reason;
}

function describe(run: RunView, context: CliContext): string {
  const { id, agent, startedAtMs, finishedAtMs, gatePairs } = run;
  const gate = gatePairs.begun === 0 ? null : `${gatePairs.finished} of ${gatePairs.begun} pairs played`;
  const judge = forcedLine(run) ?? (run.judge === null ? null : `${run.judge.model}, ${run.judge.status.replaceAll("_", " ")}`);
  const iterations = run.iterations.map(({ iteration, groups, kept, dropped, meanReward }) => [
    iteration,
    groups,
    kept,
    counts(dropped) || "none",
    meanReward?.toFixed(3) ?? "-",
  ]);
  const replay = describeReplay(run, context);
  return [
    fields({ run: id, agent, state: runState(run), started: when(startedAtMs), finished: when(finishedAtMs), judge, gate }, context),
    "",
    ...run.judgeSpending.map(describeSpending),
    ...run.steps.map(describeStep),
    "",
    table(["iteration", "groups", "kept", "dropped", "mean reward"], iterations, context),
    "",
    ...(replay === "" ? [] : [replay, ""]),
    ...(run.checks === null ? [] : ["what rewards pay for beside the task", ...run.checks.map((check) => `  ${describeCheck(check)}`), ""]),
    ...alarmLines(run),
    describeOutcome(run),
  ].join("\n");
}

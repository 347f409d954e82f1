import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import type { RunView } from "../api/views.ts";
import type { StartedRun } from "../api/runs.ts";
import { NightshiftError } from "../errors.ts";
import type { DryRun } from "../training/dry-run.ts";
import { chooseAgent } from "./agent.ts";
import { clientOptions, createClient, type ApiClient, type ClientOptions } from "./client.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { counts, fields, paint, when } from "./print.ts";
import { alarmLines as replayAlarmLines } from "./replay-run-text.ts";
import { describeOutcome, describeStart, describeStep, forcedLine, alarmLines, runState } from "./run-text.ts";

const POLL_MS = 1_000;

const EXAMPLES = `
Examples:
  nightshift run --dry-run        what a night would train on, without doing it
  nightshift run                  start one and return
  nightshift run --wait           follow it; exit code 1 when it failed
  nightshift run --wait --json    the finished run as JSON; progress stays on stderr
  nightshift run --once $JOB_UID  for schedules: tried again it begins no second night, and one that is in progress is no failure`;

interface Options extends ClientOptions {
  agent?: string;
  dryRun?: true;
  wait?: true;
  forceJudge?: true;
  once?: string;
  actor: string;
}

/** `nightshift run`: one night now. */
export function runCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  clientOptions(program.command("run"))
    .description("run one night now")
    .option("-a, --agent <agent>", "agent; may be left out where there is one")
    .option("--dry-run", "say what it would do, and do nothing")
    .option("--wait", "follow the run until it ends")
    .option("--force-judge", "run although the judge agrees with people less than judge.minAgreement; recorded with the run")
    .option("--once <key>", "begin one run for this key, however often it is asked for; none, and exit code 0, while one is in progress")
    .option("--actor <name>", "who forces it, for the run's record", context.env["USER"] ?? "operator")
    .addHelpText("after", EXAMPLES)
    .action(async (options: Options) => {
      const client = createClient(options, context);
      const agent = await chooseAgent(client, options.agent);
      if (options.dryRun) {
        const plan = await client.post<DryRun>("/v1/runs", { agent, dryRun: true });
        context.out(options.json ? JSON.stringify(plan) : describePlan(plan, context));
        return;
      }
      const started = await start(client, agent, options);
      if (started instanceof NightshiftError) {
        context.err(`${started.message}: there is nothing to begin`);
        if (options.json) context.out(JSON.stringify({ runId: null }));
        return;
      }
      if (!options.wait) {
        context.out(options.json ? JSON.stringify(started) : describeStart(started));
        return;
      }
      finish(await followToEnd(client, started.runId, { context, json: options.json === true }));
    });
}

/** An error is that of a run in progress, where a schedule asks: the agent has its night, so nothing is wrong. */
async function start(client: ApiClient, agent: string, { forceJudge, once, actor }: Options): Promise<StartedRun | NightshiftError> {
  const forced = forceJudge ? { forceJudge: true, actor } : {};
  try {
    return await client.post<StartedRun>("/v1/runs", { agent, ...forced, ...(once === undefined ? {} : { key: once }) });
  } catch (error) {
    if (once !== undefined && error instanceof NightshiftError && error.code === "run_in_progress") return error;
    throw error;
  }
}

/** Follows a run and prints what it came to. */
export async function followToEnd(
  client: ApiClient,
  runId: string,
  { context, json }: { context: CliContext; json: boolean },
): Promise<ExitCode> {
  const run = await follow(client, runId, context);
  context.out(json ? JSON.stringify(run) : [...replayAlarmLines(run, context), describeOutcome(run)].join("\n"));
  for (const line of alarmLines(run)) context.err(line);
  return run.state === "finished" ? 0 : 1;
}

function describePlan(plan: DryRun, context: CliContext): string {
  const { agent, conversations, trainScenarios, heldOutScenarios, leftOut, modes, iterations, rollouts, maxModelCalls } = plan;
  const { pivots, groups, judgings, maxCutSteps, judgeCalls, maxJudgeCalls } = plan;
  const single = pivots === 0 ? "" : `, ${pivots} of them single model calls`;
  const asked = counts({
    "for groups": judgings.groups,
    "for the probe": judgings.probes,
    "again for its noise": judgings.noise,
    "by the audit": judgings.audit,
  });
  const entries = {
    agent,
    "trainable conversations": conversations,
    "scenarios to train on": trainScenarios,
    "held-out scenarios for the gate": heldOutScenarios,
    "left out": counts(leftOut) || "none",
    "played by": counts(modes) || "nothing",
    iterations,
    "groups of an iteration": `${groups}${single}`,
    rollouts,
    "single steps where replay cuts groups, at most": maxCutSteps,
    "model calls, at most": maxModelCalls,
    "judge calls": `${judgeCalls}, at most ${maxJudgeCalls}${asked === "" ? "" : `: ${asked}`}`,
  };
  return fields(entries, context);
}

/** Prints a line for every step that ends, until the run does. */
async function follow(client: ApiClient, runId: string, context: CliContext): Promise<RunView> {
  const told = new Set<string>();
  context.err(`run ${runId}`);
  let hasWarned = false;
  let waitedFor = 0;
  for (;;) {
    const run = await client.get<RunView>(`/v1/runs/${encodeURIComponent(runId)}`);
    const forced = forcedLine(run);
    if (forced !== null && !hasWarned) context.err(paint("red", forced, context));
    hasWarned = true;
    if (run.before !== waitedFor && run.before > 0) context.err(runState(run));
    waitedFor = run.before;
    for (const step of run.steps) {
      if (step.finishedAtMs === null || told.has(step.step)) continue;
      told.add(step.step);
      context.err(`${paint("dim", when(step.finishedAtMs), context)}  ${describeStep(step)}`);
    }
    if (run.state !== "running") return run;
    await sleep(POLL_MS, undefined, { signal: context.signal });
  }
}

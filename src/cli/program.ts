import { readFileSync } from "node:fs";
import { findPackageJSON } from "node:module";
import { Command, CommanderError } from "commander";
import { NightshiftError } from "../errors.ts";
import { actCommands } from "./act.ts";
import { adapterAgentCommand } from "./adapter-agent.ts";
import { artifactSyncCommand } from "./artifact-sync.ts";
import { adaptersCommand } from "./adapters.ts";
import { baseCommand } from "./base.ts";
import { bootstrapCommand } from "./bootstrap.ts";
import { collectorCommand } from "./collector.ts";
import { alarmsCommand } from "./alarms.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { driftCommand } from "./drift.ts";
import { doctorCommand } from "./doctor.ts";
import { gatewayCommand } from "./gateway.ts";
import { groupsCommand } from "./groups.ts";
import { ingestCommand } from "./ingest.ts";
import { importCommand } from "./import.ts";
import { initCommand } from "./init.ts";
import { judgeCommand } from "./judge.ts";
import { keyCommand } from "./key.ts";
import { lineageCommand } from "./lineage.ts";
import { replayCommand } from "./replay.ts";
import { reportCommand } from "./report.ts";
import { runCommand } from "./run.ts";
import { runsCommand } from "./runs.ts";
import { serveCommand } from "./serve.ts";
import { statusCommand } from "./status.ts";
import { subjectsCommand } from "./subjects.ts";
import { tokenCommand } from "./token.ts";
import { toolsCommand } from "./tools.ts";
import { trajectoriesCommand } from "./trajectories.ts";
import { upCommand } from "./up.ts";

/** A command's place in the program: adds itself and reports its exit code through `finish`. */
export type AddCommand = (program: Command, context: CliContext, finish: (code: ExitCode) => void) => void;

/** In the order of `--help`. */
const COMMANDS: readonly AddCommand[] = [
  upCommand,
  statusCommand,
  reportCommand,
  runCommand,
  bootstrapCommand,
  runsCommand,
  groupsCommand,
  adaptersCommand,
  trajectoriesCommand,
  toolsCommand,
  replayCommand,
  driftCommand,
  lineageCommand,
  subjectsCommand,
  judgeCommand,
  alarmsCommand,
  actCommands,
  serveCommand,
  gatewayCommand,
  adapterAgentCommand,
  collectorCommand,
  ingestCommand,
  importCommand,
  artifactSyncCommand,
  doctorCommand,
  initCommand,
  tokenCommand,
  keyCommand,
  baseCommand,
];

const EXIT_CODES = `
Exit codes:
  0  done
  1  what was asked for failed
  2  bad config or bad usage
  3  refused: no run begins before somebody has done what the fix says

Examples:
  nightshift init                          a commented config to start from
  nightshift up --config nightshift.yaml   everything in one process
  nightshift report                        what was captured, and why some of it does not train
  nightshift run --wait                    one night now
`;

/** Errors of what the operator wrote, not of what happened. */
const USAGE_CODES: ReadonlySet<string> = new Set([
  ...["config_invalid", "config_unreadable", "api_open", "collector_open", "usage_invalid"],
  ...["bootstrap_not_configured", "bootstrap_not_sandboxed", "bootstrap_no_writer"],
]);

/** Answers that stay the same until somebody has done something: what repeats failed commands need not try again. */
const REFUSED_CODES: ReadonlySet<string> = new Set(["run_refused", "judge_below_agreement", "adapter_slots_exceeded"]);

/**
 * Runs one command line (without the program's own name) and resolves to its exit code. Errors become two lines on stderr: what failed, and the fix.
 * Never rejects for what an operator can cause; a defect of ours rejects with its stack.
 */
export async function runCli(args: readonly string[], context: CliContext): Promise<number> {
  let exitCode: number = 0;
  const program = new Command("nightshift")
    .description("A continual-learning sidecar for production agents.")
    .version(`nightshift ${version()}`, "-V, --version", "print the version")
    .addHelpText("after", EXIT_CODES)
    .helpCommand(true)
    .showHelpAfterError("  fix: `nightshift --help` lists the commands and their options")
    .exitOverride()
    .configureOutput({ writeOut: (text) => context.out(text.trimEnd()), writeErr: (text) => context.err(text.trimEnd()) });
  for (const add of COMMANDS) add(program, context, (code) => (exitCode = code));
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof NightshiftError) {
      context.err(error.message.split("\n")[0] ?? "");
      context.err(`  fix: ${error.fix}`);
      return USAGE_CODES.has(error.code) ? 2 : REFUSED_CODES.has(error.code) ? 3 : 1;
    }
    if (context.signal.aborted) return 130;
    throw error;
  }
}

/** Of the package that this file belongs to, from source as from a build. */
function version(): string {
  const file = findPackageJSON(import.meta.url);
  return file === undefined ? "unknown" : (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

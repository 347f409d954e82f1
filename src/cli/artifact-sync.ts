import { type Command, Option } from "commander";
import { openRunMirror } from "../app/mirror-process.ts";
import { loadConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { createLog } from "../log.ts";
import type { MirrorSide } from "../training/run-mirror.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { startOwnTelemetry } from "./own-telemetry.ts";

const EXAMPLES = `
The trainer has no network. Beside it this brings what it needs into its run directory (run.json, what it starts from, batches; after a loss also its newest
checkpoint and its adapters) and takes out what it writes, every byte verified, markers last. run.json is the last file to arrive: once it is there the trainer
can begin. Ends at SIGTERM, after a last pass. The base model is not part of it: mount it at the same path on both sides. Needs artifacts.driver: s3.

Examples:
  nightshift artifact-sync /run/nightshift --run 0198c2f4-… --config nightshift.yaml
  nightshift artifact-sync /run/nightshift --run 0198c2f4-… --prepare      brings what the trainer begins with, then ends: for an init container
  nightshift artifact-sync .nightshift/runs/0198c2f4-… --run 0198c2f4-… --side control`;

interface Options {
  run: string;
  side: MirrorSide;
  intervalMs: string;
  prepare?: true;
  config?: string;
  json?: true;
}

/** `nightshift artifact-sync`: a run directory and its copy in the bucket, kept alike. */
export function artifactSyncCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  program
    .command("artifact-sync")
    .description("keep a run directory and its copy in the bucket alike, beside a trainer without network")
    .argument("<directory>", "the run directory on this machine")
    .requiredOption("--run <id>", "the run")
    .addOption(new Option("--side <side>", "whose copy this is").choices(["trainer", "control"]).default("trainer"))
    .option("--interval-ms <n>", "pause between passes", "1000")
    .option("--prepare", "only bring what the trainer begins with, then end")
    .option("-c, --config <file>", "config file (YAML)")
    .option("--json", "print one JSON line when the directory is ready, for programs")
    .addHelpText("after", EXAMPLES)
    .action(async (directory: string, options: Options) => {
      const config = loadConfig({ file: options.config, env: context.env });
      const log = createLog({ level: config.logLevel, process: "artifact-sync" });
      const telemetry = await startOwnTelemetry("artifact-sync", config, { log, env: context.env });
      const place = {
        runId: requireRunId(options.run),
        runDirectory: directory,
        side: options.side,
        intervalMs: requireMs(options.intervalMs),
      };
      const mirror = await openRunMirror(config, place, { log, env: context.env });
      await mirror.prepare({ signal: context.signal });
      context.out(options.json ? JSON.stringify({ event: "ready", directory }) : `${directory} is ready.`);
      if (options.prepare !== true) await mirror.run({ signal: context.signal });
      await telemetry.shutdown();
      finish(0);
    });
}

/** It becomes part of keys: nothing that could name another run's. */
function requireRunId(text: string): string {
  if (/^[A-Za-z0-9_-]{1,100}$/.test(text)) return text;
  throw nightshiftError("usage_invalid", { problem: `--run ${text.slice(0, 100)} is not the id of a run` });
}

function requireMs(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 10) return value;
  throw nightshiftError("usage_invalid", { problem: `--interval-ms ${text} is not a number of milliseconds from 10 up` });
}

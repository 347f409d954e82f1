import type { Command } from "commander";
import { loadConfig, type Config } from "../config.ts";
import { NightshiftError } from "../errors.ts";
import { clientOptions, createClient, type ClientOptions } from "./client.ts";
import type { CliContext, ExitCode, Style } from "./context.ts";
import { checkAgents } from "./doctor/agents.ts";
import { checkArtifacts } from "./doctor/artifacts.ts";
import { checkDetector } from "./doctor/detector.ts";
import { bad, ok, type Finding } from "./doctor/finding.ts";
import { checkJudgesAnswer } from "./doctor/judges.ts";
import { checkMachine } from "./doctor/machine.ts";
import { checkPolicyServers } from "./doctor/policy-servers.ts";
import { checkRedaction } from "./doctor/redaction.ts";
import { checkRunning } from "./doctor/running.ts";
import { checkStore } from "./doctor/store.ts";
import { checkTrainer } from "./doctor/trainer.ts";
import { checkTransport } from "./doctor/transport.ts";
import { oneLine, paint } from "./print.ts";

const EXAMPLES = `
Checks the config, the machine, every outside part that is configured and, where one answers, the running Nightshift. Writes nothing but one small object in
the bucket, which it deletes again; policy servers complete two single tokens, and a Kubernetes API checks a Job that it does not keep. Exit code 1 when a finding is bad.

Examples:
  nightshift doctor --config nightshift.yaml
  nightshift doctor --config nightshift.yaml --ask-judges
  nightshift doctor --config nightshift.yaml --json | jq '.findings[] | select(.status != "ok")'`;

const MARKS: Readonly<Record<Finding["status"], { text: string; style: Style }>> = {
  ok: { text: "ok  ", style: "green" },
  warn: { text: "warn", style: "yellow" },
  bad: { text: "BAD ", style: "red" },
};

/** `nightshift doctor`: every finding with its fix. */
export function doctorCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  clientOptions(program.command("doctor"))
    .description("check config, machine and the running Nightshift; every finding with its fix")
    .option("-c, --config <file>", "config file (YAML)")
    .option("--ask-judges", "also have every judge write one word, which may cost")
    .addHelpText("after", EXAMPLES)
    .action(async (options: DoctorOptions) => {
      const findings = await examine(options, context);
      context.out(options.json ? JSON.stringify({ findings }) : findings.map((finding) => describe(finding, context)).join("\n"));
      finish(findings.some(({ status }) => status === "bad") ? 1 : 0);
    });
}

type DoctorOptions = ClientOptions & { config?: string; askJudges?: true };

async function examine(options: DoctorOptions, context: CliContext): Promise<Finding[]> {
  const client = createClient(options, context);
  const running = await checkRunning(client);
  const config = readConfig(options.config, context);
  if (config instanceof NightshiftError) return [bad("config", config.message, config.fix), ...running.findings];
  return [
    ok("config", options.config ?? "defaults and environment"),
    ...(await checkMachine(config, running)),
    ...(await checkStore(config, context)),
    ...(await checkTransport(config)),
    ...(await checkArtifacts(config, context)),
    ...checkRedaction(config),
    ...(await checkDetector(config)),
    ...checkAgents(config, context),
    ...(await checkPolicyServers(config, running.isRunning ? client : null)),
    ...(await checkTrainer(config)),
    ...(await checkJudgesAnswer(config, context, { isPaid: options.askJudges === true })),
    ...running.findings,
  ];
}

function readConfig(file: string | undefined, { env }: CliContext): Config | NightshiftError {
  try {
    return loadConfig({ file, env });
  } catch (error) {
    if (error instanceof NightshiftError) return error;
    throw error;
  }
}

function describe(finding: Finding, context: CliContext): string {
  const { text, style } = MARKS[finding.status];
  const line = `${paint(style, text, context)}  ${finding.check}: ${oneLine(finding.message, 300)}`;
  return finding.status === "ok" ? line : `${line}\n      fix: ${finding.fix}`;
}

import type { Command } from "commander";
import type { DriftReport } from "../api/drift.ts";
import { nightshiftError } from "../errors.ts";
import type { DriftShare, ToolDrift } from "../rollout/measure/drift.ts";
import { chooseAgent } from "./agent.ts";
import { clientOptions, createClient, type ClientOptions } from "./client.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { followWork } from "./lines.ts";
import { duration, oneLine, percent, table } from "./print.ts";

const EXAMPLES = `
Asks a sample of recorded answers again, live, and compares. Only tools below agents.<agent>.replay.liveReads.tools whose configured class is read are
called, with the read-only credential given there; whatever names somebody by a pseudonym is left out. Exit code 1 when a tool's recordings are served at an age at which
they surely are wrong too often (replay.maxWrongShare), or no question was answered.

Examples:
  nightshift drift
  nightshift drift --agent shop-support --per-tool 300
  nightshift drift --json`;

interface Options extends ClientOptions {
  agent?: string;
  perTool: string;
  seed: string;
}

/** `nightshift drift`: how far the world has moved on from what was recorded. */
export function driftCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  clientOptions(program.command("drift"))
    .description("ask recorded answers again, live: which tools' recordings are out of date, and from what age on")
    .option("-a, --agent <agent>", "agent; may be left out where there is one")
    .option("--per-tool <n>", "recordings of each tool to ask for again at most, 1 to 1000", "100")
    .option("--seed <n>", "another one draws other recordings", "1")
    .addHelpText("after", EXAMPLES)
    .action(async (options: Options) => {
      const asked = { perTool: whole(options.perTool, "--per-tool"), seed: whole(options.seed, "--seed") };
      const client = createClient(options, context);
      const body = { agent: await chooseAgent(client, options.agent), ...asked };
      const { report } = await followWork<{ event: "checked"; report: DriftReport }>(
        client,
        { path: "/v1/drift", body, of: "recordings asked for again", about: "drift check" },
        context,
      );
      context.out(options.json ? JSON.stringify(report) : describe(report, context));
      finish(isWell(report) ? 0 : 1);
    });
}

function isWell({ tools }: DriftReport): boolean {
  const isUnanswered = tools.every(({ asked }) => asked === 0) && tools.some(({ failed }) => failed > 0);
  return !isUnanswered && tools.every(({ verdict }) => verdict !== "drifts");
}

function describe({ tools, maxWrongShare }: DriftReport, context: CliContext): string {
  const row = (tool: string, age: string, share: DriftShare, failed: string): string[] => [
    oneLine(tool),
    age,
    `${share.changed} of ${share.asked}`,
    share.asked === 0 ? "-" : `${percent(share.changed / share.asked)}, ${percent(share.lowerBound)} to ${percent(share.upperBound)}`,
    failed,
  ];
  const rows = tools.flatMap((tool) => [
    row(tool.tool, "all", tool, String(tool.failed)),
    ...tool.byAge.map((age) => row("", ageOf(age), age, "")),
  ]);
  const head = ["tool", "recorded", "changed", "share, 95 % bounds", "no answer"];
  return [table(head, rows, context), "", ...tools.map((tool) => verdictOf(tool, maxWrongShare))].join("\n");
}

function ageOf({ fromMs, toMs }: { fromMs: number; toMs: number | null }): string {
  if (toMs === null) return `over ${duration(fromMs)} ago`;
  return fromMs === 0 ? `under ${duration(toMs)} ago` : `${duration(fromMs)} to ${duration(toMs)} ago`;
}

function verdictOf({ tool, verdict, advisedFreshnessMs, freshnessMs, served }: ToolDrift, maxWrongShare: number): string {
  const name = oneLine(tool);
  const now = freshnessMs === null ? "any age" : `up to ${duration(freshnessMs)}`;
  if (verdict === "unknown") return `${name}: ${served} answers of recordings that are served (${now}) are too few to say`;
  if (verdict === "holds") return `${name}: holds (recordings of ${now} are served)`;
  const from = advisedFreshnessMs === 1 ? "at every age" : `from ${duration(advisedFreshnessMs ?? 0)} on`;
  return `${name}: DRIFTS ${from}: more than ${percent(maxWrongShare)} changed, and recordings of ${now} are served\n  fix: tools.${name}.freshnessMs: ${advisedFreshnessMs}`;
}

function whole(text: string, option: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw nightshiftError("usage_invalid", { problem: `${option} ${text} is no whole number` });
}

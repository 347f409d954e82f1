import { openSync, readFileSync, fstatSync, closeSync } from "node:fs";
import type { Command } from "commander";
import type { CalibrationEvent, JudgeAnswer } from "../api/judge.ts";
import type { Calibration } from "../reward/calibration/calibration-store.ts";
import { nightshiftError } from "../errors.ts";
import { MAX_LABEL_BYTES, parseLabels, type LabelLine } from "../reward/calibration/labels.ts";
import { chooseAgent } from "./agent.ts";
import { clientOptions, createClient, printAnswer, toldError, type ApiClient, type ClientOptions } from "./client.ts";
import type { CliContext } from "./context.ts";
import { describeCalibration, describeJudge } from "./judge-text.ts";

const EXAMPLES = `
LABELS holds one label a line, as docs/judge.md describes them:
  {"kind":"pair","a":{"from":"trajectory","id":"01JD…"},"b":{"from":"messages","messages":[…]},"preferred":"a"}
  {"kind":"scores","attempts":[{"transcript":{"from":"rollout","group":"4f…","member":0},"score":4},…]}

Examples:
  nightshift judge calibrate labels.jsonl --agent shop-support
  nightshift judge calibrate labels.jsonl --repeats 4 --input-price 2.5 --output-price 10
  nightshift judge show --json`;

const PROGRESS_MS = 3_000;

interface CalibrateOptions extends ClientOptions {
  agent?: string;
  repeats: string;
  seed: string;
  inputPrice?: string;
  outputPrice?: string;
  actor: string;
}

/** `nightshift judge calibrate|show`: how far the judge of rewards agrees with people. */
export function judgeCommand(program: Command, context: CliContext): void {
  const judge = program
    .command("judge")
    .description("the judge of rewards: measure it against people, show what is known")
    .addHelpText("after", EXAMPLES);
  clientOptions(judge.command("calibrate <labels>"))
    .description("ask the judge about attempts that people have labelled; what it costs is in the report")
    .option("-a, --agent <agent>", "agent; may be left out where there is one")
    .option("--repeats <n>", "questions about each label in other orders, 2 to 10", "2")
    .option("--seed <n>", "another one draws other orders, and asks again instead of reading the cache", "1")
    .option("--input-price <price>", "of a million input tokens, for the report")
    .option("--output-price <price>", "of a million output tokens")
    .option("--actor <name>", "who calibrates, for the audit log", context.env["USER"] ?? "operator")
    .action(async (file: string, options: CalibrateOptions) => {
      const labels = readLabels(file);
      const client = createClient(options, context);
      const agent = await chooseAgent(client, options.agent);
      const asked = { agent, labels, repeats: number(options.repeats, "--repeats"), seed: number(options.seed, "--seed") };
      const calibration = await follow(client, { ...asked, prices: pricesOf(options), actor: options.actor }, context);
      context.out(options.json ? JSON.stringify(calibration) : describeCalibration(calibration, context));
    });
  clientOptions(judge.command("show"))
    .description("the judge, its newest calibration and its age")
    .option("-a, --agent <agent>", "agent; may be left out where there is one")
    .action(async (options: ClientOptions & { agent?: string }) => {
      await printAnswer(
        options,
        context,
        async (client) => client.get<JudgeAnswer>("/v1/judge", { agent: await chooseAgent(client, options.agent) }),
        (answer) => describeJudge(answer, context),
      );
    });
}

/** @throws NightshiftError `labels_unreadable`, `labels_invalid` */
function readLabels(file: string): LabelLine[] {
  let text: string;
  try {
    const opened = openSync(file, "r");
    try {
      const { size } = fstatSync(opened);
      if (size > MAX_LABEL_BYTES) throw new Error(`it has ${size} bytes, ${MAX_LABEL_BYTES} are taken`);
      text = readFileSync(opened, "utf8");
    } finally {
      closeSync(opened);
    }
  } catch (cause) {
    throw nightshiftError("labels_unreadable", { file, problem: (cause as Error).message }, { cause });
  }
  return parseLabels(file, text);
}

/** Tells how far it is, until it is done. */
async function follow(client: ApiClient, asked: object, context: CliContext): Promise<Calibration> {
  let toldAt = performance.now();
  for await (const event of client.lines<CalibrationEvent>("/v1/judge/calibrations", asked)) {
    if (event.event === "calibrated") return event.calibration;
    if (event.event === "error") throw toldError(event.error, client.url);
    if (performance.now() - toldAt < PROGRESS_MS) continue;
    toldAt = performance.now();
    context.err(`${event.done} of ${event.total} labels judged`);
  }
  throw nightshiftError("api_answer_invalid", { url: client.url, status: 200, problem: "the answer ended before the calibration did" });
}

function pricesOf({ inputPrice, outputPrice }: CalibrateOptions): { input: number; output: number } | null {
  if (inputPrice === undefined && outputPrice === undefined) return null;
  if (inputPrice === undefined || outputPrice === undefined)
    throw nightshiftError("usage_invalid", { problem: "--input-price and --output-price go together" });
  return { input: number(inputPrice, "--input-price"), output: number(outputPrice, "--output-price") };
}

function number(text: string, option: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value >= 0) return value;
  throw nightshiftError("usage_invalid", { problem: `${option} ${text} is no number of 0 or more` });
}

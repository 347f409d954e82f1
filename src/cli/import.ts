import { Option, type Command } from "commander";
import { loadConfig } from "../config.ts";
import { nightshiftError } from "../errors.ts";
import { readToken, tokenOf, urlOf } from "./address.ts";
import type { CliContext, ExitCode } from "./context.ts";
import { createBatches } from "./import/batches.ts";
import { createCollectorClient } from "./import/collector-client.ts";
import { FORMATS, type Format } from "./import/convert.ts";
import { importFiles } from "./import/run.ts";
import { createTally, type Counts } from "./import/tally.ts";
import { timeOf } from "./import/values.ts";
import { fields } from "./print.ts";

const HELP = `
Everything is sent to the running collector as OTLP/HTTP, so that redaction, limits and acknowledgement are the collector's; the database is not touched.

Formats, told apart record by record; gzip and zstd are unpacked:
  otlp       JSON lines or length-prefixed protobuf as the Collector's file exporter writes them (its zstd too), single requests as JSON or protobuf
  langfuse   observations, traces and scores, as JSON or JSON lines: exported to blob storage, from its pages, or answers of its API
  openai     {"messages": […], "tools": […]} as fine-tuning files have it, stored completions with their messages, {"request": …, "response": …}

A record's ids are made from the record alone: importing it again, from whatever file, stores nothing twice. Run an import that was cut off again.

Exit codes:
  0  everything was taken
  1  something was not, which is said on stderr; with --strict everything up to there was imported
  2  bad usage
  130  stopped by Ctrl-C; the summary says what was taken

Examples:
  nightshift import traces.jsonl logs.jsonl
  nightshift import --dry-run export/*.jsonl.gz                               what would be sent, and which lines are bad
  nightshift import --service-name shop-agent --consent true finetune.jsonl   conversations that say neither
  nightshift import --config nightshift.yaml --format langfuse observations.json --json`;

interface Options {
  endpoint?: string;
  tokenFile?: string;
  config?: string;
  format?: Format;
  serviceName?: string;
  consent?: "true" | "false";
  time?: string;
  concurrency: string;
  patience: string;
  maxRecordBytes: string;
  strict?: true;
  dryRun?: true;
  json?: true;
}

const DEFAULT_URL = "http://127.0.0.1:4318";
const PROGRESS_MS = 5_000;

/** `nightshift import`: recorded conversations from files, through the collector. */
export function importCommand(program: Command, context: CliContext, finish: (code: ExitCode) => void): void {
  program
    .command("import <file...>")
    .description("bring in recorded conversations: OTLP, Langfuse and OpenAI files")
    .option("--endpoint <url>", `the collector (default: NIGHTSHIFT_COLLECTOR_URL, else the config's, else ${DEFAULT_URL})`)
    .option("--token-file <file>", "file with a collector token (default: NIGHTSHIFT_TOKEN_FILE, else NIGHTSHIFT_TOKEN, else the config's)")
    .option("-c, --config <file>", "config file (YAML), for the collector's address and gateway.collectorTokenFile")
    .addOption(new Option("--format <format>", "what the files are, where it is guessed wrong").choices(FORMATS))
    .option("--service-name <name>", "service.name of everything that is imported; agents are matched by it")
    .addOption(new Option("--consent <yes>", "nightshift.consent of what does not say it itself").choices(["true", "false"]))
    .option("--time <time>", "when conversations without a time took place (default: the file's last change)")
    .option("--concurrency <n>", "requests on their way at once", "4")
    .option("--patience <seconds>", "give up when the collector took nothing for this long", "300")
    .option("--max-record-bytes <n>", "largest line, message or element", String(64 * 1024 * 1024))
    .option("--strict", "stop at the first record that cannot be read")
    .option("--dry-run", "read and convert everything, send nothing")
    .option("--json", "print the summary as one line of JSON")
    .addHelpText("after", HELP)
    .action(async (files: string[], options: Options) => finish(await runImport(files, options, context)));
}

async function runImport(files: readonly string[], options: Options, context: CliContext): Promise<ExitCode> {
  const tally = createTally((text) => context.err(text));
  const patienceMs = wholeNumber(options.patience, "--patience") * 1_000;
  const concurrency = wholeNumber(options.concurrency, "--concurrency");
  const maxRecordBytes = wholeNumber(options.maxRecordBytes, "--max-record-bytes");
  const defaultMs = timeOption(options.time);
  const client = options.dryRun ? null : createCollectorClient({ ...addressOf(options, context), patienceMs, signal: context.signal });
  const batches = createBatches(client, tally, { concurrency });
  const overlay = { serviceName: options.serviceName, consent: options.consent === undefined ? undefined : options.consent === "true" };
  const importing = importFiles(
    files,
    { format: options.format, overlay, defaultMs, maxRecordBytes, isStrict: options.strict === true },
    { batches, tally, progress: progressTo(context), signal: context.signal },
  );
  // The summary is what tells how far an import came that ends early.
  await importing.finally(() => context.out(summary(tally.counts, options, context)));
  return tally.counts.recordsBad + tally.counts.refused > 0 ? 1 : 0;
}

function addressOf(options: Options, { env }: CliContext): { url: string; token: string | undefined } {
  const config = options.config === undefined ? null : loadConfig({ file: options.config, env });
  const configured = config === null ? DEFAULT_URL : (config.gateway.collectorUrl ?? urlOf(config.collector.host, config.collector.port));
  const url = (options.endpoint ?? env["NIGHTSHIFT_COLLECTOR_URL"] ?? configured).replace(/\/+$/, "");
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? "")) throw nightshiftError("usage_invalid", { problem: `${url} is not an http url` });
  const file = config?.gateway.collectorTokenFile;
  return { url, token: tokenOf(options, env) ?? (file === undefined ? undefined : readToken(file)) };
}

function wholeNumber(text: string, option: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw nightshiftError("usage_invalid", { problem: `${option} ${text} is no whole number above 0` });
}

function timeOption(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  try {
    const ns = timeOf(text, "--time");
    if (ns !== undefined) return Number(ns / 1_000_000n);
  } catch {
    // Said below, with the value: it is the operator's own.
  }
  throw nightshiftError("usage_invalid", { problem: `--time ${text} is no time such as 2026-11-22T03:00:00Z` });
}

/** A line every few seconds, so that short imports stay silent. */
function progressTo(context: CliContext): (counts: Counts) => void {
  let nextAt = performance.now() + PROGRESS_MS;
  return (counts) => {
    if (performance.now() < nextAt) return;
    nextAt = performance.now() + PROGRESS_MS;
    context.err(
      `${megabytes(counts.bytesRead)} read, ${counts.spans} spans of ${traces(counts)} traces taken, ${counts.recordsBad} bad records`,
    );
  };
}

function summary(counts: Counts, { dryRun, json }: Options, context: CliContext): string {
  const isDryRun = dryRun === true;
  if (json) return JSON.stringify({ ...counts, dryRun: isDryRun, interrupted: context.signal.aborted });
  const { records, spans, logRecords, requests, bytesSent, recordsBad, refused } = counts;
  const read = FORMATS.filter((format) => records[format] > 0).map((format) => `${records[format]} ${format}`);
  return fields(
    {
      files: `${counts.files} (${megabytes(counts.bytesRead)} read)`,
      records: read.length === 0 ? "none" : read.join(", "),
      traces: traces(counts),
      [isDryRun ? "would send" : "taken"]: `${spans} spans, ${logRecords} log records, in ${requests} requests (${megabytes(bytesSent)})`,
      "not taken": recordsBad + refused === 0 ? null : `${recordsBad} bad records, ${refused} spans and log records refused`,
      stopped: context.signal.aborted ? "by a signal; the same command goes on, nothing is stored twice" : null,
    },
    context,
  );
}

function traces({ traces, tracesAtLeast }: Counts): string {
  return tracesAtLeast ? `at least ${traces}` : String(traces);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

import { cpus } from "node:os";
import type { Foreign } from "../machine.ts";
import { median } from "../quantiles.ts";
import type { LoadResult } from "./load.ts";
import type { Subject } from "./subjects.ts";

export interface Measured extends LoadResult {
  spansPerCpuSecond: number;
  cpuMsPerRequest: number;
  /** Since the subject started. */
  peakRssBytes: number;
  /** Requests that were answered with 200 and are not in the topic. */
  missing: number;
}

/** One entry per round, by load and subject. */
export type Results = Record<string, Record<string, Measured[]>>;

const OURS = "nightshift";
const STOCK = "otelcol";
const BAR = 1.4;
const RSS_BAR_MB = 200;
const BAR_LOAD = "64 LLM spans of 8 KB, gzip";
/** By whether both redact. */
const TIME_LOADS = { off: "64 LLM spans of 8 KB, gzip, 40 requests/s", on: "64 LLM spans of 8 KB, gzip, 5 requests/s" };
const QUIET_SHARE = 0.05;

/** Prints a table, what became of each bar, and as the last line all of it as JSON. */
export function report(results: Results, subjects: readonly Subject[], foreign: Foreign): void {
  for (const [name, bySubject] of Object.entries(results)) sayLoad(name, bySubject);
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  const noise = foreign.others + foreign.host > QUIET_SHARE ? ": too much for the times to say anything" : "";
  say(`\nother processes used ${percent(foreign.others)} of the machine, its host withheld ${percent(foreign.host)}${noise}`);
  const bars = barsOf(results);
  for (const { what, bar, value, holds } of bars)
    say(`${holds === null ? "       " : holds ? "holds " : "MISSED"}  ${what}: ${rounded(value)} (${bar})`);
  const machine = {
    ...{ cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, node: process.version },
    ...{ othersShare: foreign.others, withheldByHostShare: foreign.host },
    sharing:
      "each collector pinned to core 0, one at a time under load; Kafka and load generator on core 1; both kept from halting by a loop of idle priority",
  };
  const versions = Object.fromEntries(subjects.map(({ name, version }) => [name, version]));
  const isNumber = (_: string, value: unknown) => (typeof value === "number" ? rounded(value) : value);
  say(JSON.stringify({ bench: "collector", machine, versions, bars, results }, isNumber));
}

function sayLoad(name: string, bySubject: Readonly<Record<string, Measured[]>>): void {
  say(`\n${name}: spans per second of CPU, each round`);
  for (const [subject, all] of Object.entries(bySubject)) {
    const figures = all.map((each) => each.spansPerCpuSecond.toFixed(0).padStart(9)).join("");
    const p99 = median(all.map(({ totalMs }) => totalMs.p99)).toFixed(1);
    const p50 = median(all.map(({ totalMs }) => totalMs.p50)).toFixed(1);
    const rss = (Math.max(...all.map(({ peakRssBytes }) => peakRssBytes)) / 1024 / 1024).toFixed(0);
    const bad = all.reduce((sum, { failed, missing }) => sum + failed + missing, 0);
    say(`  ${subject.padEnd(24)}${figures}   p50 ${p50} p99 ${p99} ms, ${rss} MB, ${bad} failed or missing`);
  }
}

interface Bar {
  what: string;
  bar: string;
  value: number;
  /** Null for a figure that has no bar. */
  holds: boolean | null;
}

/** A ratio is taken within each round; the middle round's counts. */
function barsOf(results: Results): Bar[] {
  const ratio = (load: string, ours: string, theirs: string): number => {
    const [our = [], their = []] = [results[load]?.[ours], results[load]?.[theirs]];
    return median(our.map((one, round) => one.spansPerCpuSecond / (their[round]?.spansPerCpuSecond ?? Number.NaN)));
  };
  const atLeast = (what: string, value: number, bar: number): Bar => ({ what, bar: `>= ${bar} x`, value, holds: value >= bar });
  const [oursOn, stockOn] = [`${OURS}, redacting`, `${STOCK}, redacting`];
  const p99 = (load: string, subject: string) => median((results[load]?.[subject] ?? []).map(({ totalMs }) => totalMs.p99));
  const all = Object.values(results).flatMap((bySubject) =>
    Object.entries(bySubject).flatMap(([name, each]) => each.map((one) => ({ name, ...one }))),
  );
  const ours = all.filter(({ name }) => name.startsWith(OURS));
  const largest = (of: readonly Measured[]) => Math.max(...of.map(({ peakRssBytes }) => peakRssBytes)) / 1024 / 1024;
  // Of the first round, before any other load had its turn.
  const rss = largest([OURS, oursOn].flatMap((subject) => (results[BAR_LOAD]?.[subject] ?? []).slice(0, 1)));
  const lost = ours.reduce((sum, { failed, missing }) => sum + failed + missing, 0);
  const noWorse = (what: string, load: string, our: string, their: string): Bar => {
    const value = p99(load, our) / p99(load, their);
    return { what, bar: "<= 1 x", value, holds: value <= 1 };
  };
  return [
    atLeast(
      `spans per CPU second against the stock Collector, gzip LLM spans, gzip records on both`,
      ratio(BAR_LOAD, OURS, `${STOCK}, gzip`),
      BAR,
    ),
    atLeast("the same, the stock Collector's records not compressed", ratio(BAR_LOAD, OURS, STOCK), BAR),
    atLeast("the same, redaction on on both, the stock Collector's records not compressed", ratio(BAR_LOAD, oursOn, stockOn), BAR),
    { what: "ours redacting against the stock Collector that does not", bar: "no bar", value: ratio(BAR_LOAD, oursOn, STOCK), holds: null },
    noWorse("p99 against the stock Collector, redaction off on both, 40 requests/s", TIME_LOADS.off, OURS, STOCK),
    noWorse("p99 against the stock Collector, redaction on on both, 5 requests/s", TIME_LOADS.on, oursOn, stockOn),
    { what: "largest resident size of ours, gzip LLM spans, MiB", bar: `< ${RSS_BAR_MB}`, value: rss, holds: rss < RSS_BAR_MB },
    { what: "the same, after all loads", bar: "no bar", value: largest(ours), holds: null },
    { what: "requests of ours failed, or acknowledged and not in the topic", bar: "< 1", value: lost, holds: lost < 1 },
  ];
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

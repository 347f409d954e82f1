import { cpus } from "node:os";
import { answerBody, answerEvents, requestBody } from "./conversation.ts";
import type { LoadResult } from "./load.ts";
import type { ProbeResult } from "./probe.ts";
import { median, type Quantiles } from "../quantiles.ts";
import type { Foreign } from "../machine.ts";
import type { Measured } from "./stand.ts";

/** A load through a gateway, as its client and its own process saw it. */
export interface Timed {
  through: Measured;
  inside: ProbeResult;
}

/** One entry per round, by load (and gateway). */
export interface Results {
  time: Record<string, ({ direct: LoadResult; bare: Timed } & Timed)[]>;
  cpu: Record<string, Record<string, Measured[]>>;
  /** Calls that our gateway answered while its CPU was measured, and those whose span arrived. */
  captured: { calls: number; exported: number };
}

interface Bar {
  what: string;
  bar: string;
  value: number;
  holds: boolean;
}

/** With more of the machine than this in other hands a time that was measured says little; ratios, taken side by side, still do. */
const QUIET_SHARE = 0.05;

/** Prints a table, what became of each bar, and as the last line all of it as JSON. */
export function report(results: Results, subjects: readonly { name: string; version: string }[], foreign: Foreign): void {
  for (const [name, all] of Object.entries(results.time)) sayTimes(name, all);
  for (const [name, bySubject] of Object.entries(results.cpu)) sayCpu(name, bySubject);
  const bars = barsOf(results);
  const noise = foreign.others + foreign.host > QUIET_SHARE ? ": too much for the times to say anything" : "";
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  say(`\nother processes used ${percent(foreign.others)} of the machine, its host withheld ${percent(foreign.host)}${noise}`);
  for (const { what, bar, value, holds } of bars) say(`${holds ? "holds " : "MISSED"}  ${what}: ${rounded(value)} (${bar})`);
  const machine = {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    node: process.version,
    othersShare: foreign.others,
    withheldByHostShare: foreign.host,
    sharing:
      "each gateway pinned to core 0, one at a time under load; policy server, collector and load generator on core 1; both kept from halting by a loop of idle priority",
  };
  const bytes = {
    request: requestBody({ model: "shop-model", stream: false }).length,
    answer: answerBody().length,
    stream: Buffer.concat(answerEvents()).length,
    events: answerEvents().length,
  };
  const isNumber = (_: string, value: unknown) => (typeof value === "number" ? rounded(value) : value);
  say(JSON.stringify({ bench: "gateway", machine, subjects, bytes, bars, ...results }, isNumber));
}

function sayTimes(name: string, all: Results["time"][string]): void {
  say(`\n${name}: milliseconds, p50 / p99 of each round`);
  const row = (title: string, of: (one: (typeof all)[number]) => Quantiles) =>
    say(`  ${title.padEnd(34)}${all.map((one) => `${of(one).p50.toFixed(3)} / ${of(one).p99.toFixed(3)}`.padStart(18)).join("")}`);
  const cpu = (title: string, of: (one: (typeof all)[number]) => Measured) =>
    say(`  ${title.padEnd(34)}${all.map((one) => of(one).cpuMicrosPerCall.toFixed(0).padStart(18)).join("")}`);
  if (!name.startsWith("streams")) {
    row("added, inside the process", ({ inside }) => inside.addedMs);
    row("added, inside a bare proxy", ({ bare }) => bare.inside.addedMs);
  }
  row("added to first byte, inside", ({ inside }) => inside.firstByteMs);
  row("added to first byte, bare proxy", ({ bare }) => bare.inside.firstByteMs);
  row("client to first byte, direct", ({ direct }) => direct.firstByteMs);
  row("client to first byte, gateway", ({ through }) => through.firstByteMs);
  row("client to first byte, bare proxy", ({ bare }) => bare.through.firstByteMs);
  cpu("CPU µs per call", ({ through }) => through);
  cpu("CPU µs per call, bare proxy", ({ bare }) => bare.through);
}

function sayCpu(name: string, bySubject: Readonly<Record<string, Measured[]>>): void {
  say(`\n${name}: calls per second of CPU, each round`);
  for (const [subject, all] of Object.entries(bySubject)) {
    const figures = all.map((each) => each.callsPerCpuSecond.toFixed(0).padStart(8)).join("");
    say(`  ${subject.padEnd(12)}${figures}   ${median(all.map((each) => each.callsPerSecond)).toFixed(0)} calls/s, ${wrongOf(all)} wrong`);
  }
}

/** A figure is the middle round's; a ratio is taken within each round. */
function barsOf({ time, cpu, captured }: Results): Bar[] {
  const inside = (load: string, of: keyof ProbeResult) => median((time[load] ?? []).map((one) => one.inside[of].p99));
  const most = (what: string, value: number, limit: number, unit: string) => ({
    what,
    bar: `< ${limit}${unit}`,
    value,
    holds: value < limit,
  });
  const ours = [
    ...Object.values(time)
      .flat()
      .map(({ through }) => through),
    ...Object.values(cpu).flatMap((each) => each["nightshift"] ?? []),
  ];
  const ratios = Object.entries(cpu).flatMap(([load, { nightshift = [], ...partners }]) =>
    Object.entries(partners).map(([partner, all]) => {
      const limit = partner === "litellm" ? 2 : 1;
      const value = median(all.map((each, round) => (nightshift[round]?.callsPerCpuSecond ?? 0) / each.callsPerCpuSecond));
      const what = `calls per CPU second against ${partner}, ${load}`;
      return { what, bar: `>= ${limit} x`, value, holds: value >= limit && wrongOf(all) === 0 };
    }),
  );
  return [
    most("added inside the process, p99, answers at 500/s", inside("answers, 500/s", "addedMs"), 1, " ms"),
    most("added to the first byte, p99, answers at 500/s", inside("answers, 500/s", "firstByteMs"), 0.5, " ms"),
    most("added to the first byte, p99, streams at 50/s", inside("streams, 50/s", "firstByteMs"), 0.5, " ms"),
    ...ratios,
    most("answers that were not the policy server's bytes", wrongOf(ours), 1, ""),
    most("calls answered but not captured", captured.calls - captured.exported, 1, ""),
  ];
}

function wrongOf(all: readonly LoadResult[]): number {
  return all.reduce((sum, { wrong }) => sum + wrong, 0);
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

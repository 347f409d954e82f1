import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startPartProcess, type PartProcess } from "../real/parts/process.ts";

/** Which core runs what: the subject that is measured alone on one, everything around it on the other. */
export const SUBJECT_CORE = "0";
export const WORLD_CORE = "1";
/** The kernel counts a process's time in these. */
const TICKS_PER_SECOND = 100;

export function pinned(
  core: string,
  command: string,
  args: readonly string[],
  options: { env: Record<string, string>; readyLine: RegExp },
): Promise<PartProcess> {
  return startPartProcess("taskset", ["-c", core, command, ...args], { ...options, limitMs: 120_000 });
}

/**
 * Keeps both cores from halting while they have nothing to do, at a priority below all else: in a virtual machine, waking up from a halt takes longer than what a call
 * is for, and counts as its CPU.
 */
export async function keepAwake(): Promise<PartProcess[]> {
  const spin = "process.stdout.write('spinning\\n'); for (;;);";
  const start = (core: string) =>
    startPartProcess("chrt", ["--idle", "0", "taskset", "-c", core, process.execPath, "-e", spin], {
      ...{ env: {}, readyLine: /spinning/, limitMs: 30_000 },
    });
  return Promise.all([SUBJECT_CORE, WORLD_CORE].map(start));
}

export function scratchDirectory(): string {
  return mkdtempSync(join(tmpdir(), "nightshift-bench-"));
}

/** Shares of the machine's CPU that this bench could not have: what processes outside it used, and what its host gave to other machines. */
export interface Foreign {
  others: number;
  host: number;
}

/** Begins to watch the machine; the result says what happened since. A time measured beside busy ones is theirs too. */
export function watchMachine(): () => Foreign {
  const before = { ...machineTicks(), own: ticksOf(process.pid) };
  return () => {
    const { busy, stolen, total } = machineTicks();
    const own = ticksOf(process.pid) - before.own;
    const since = total - before.total;
    return { others: Math.max(0, busy - before.busy - own) / since, host: (stolen - before.stolen) / since };
  };
}

function machineTicks(): { busy: number; stolen: number; total: number } {
  const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, interrupts = 0, soft = 0, stolen = 0] = readFileSync("/proc/stat", "utf8")
    .replace(/^cpu +/, "")
    .split(" ", 8)
    .map(Number);
  const busy = user + nice + system + interrupts + soft;
  return { busy, stolen, total: busy + idle + wait + stolen };
}

/** Seconds of CPU that a process and its descendants have used, those included that it has waited for. */
export function cpuSecondsOf(pid: number): number {
  return ticksOf(pid) / TICKS_PER_SECOND;
}

function ticksOf(pid: number): number {
  const all = new Map(
    readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .flatMap(statOf),
  );
  let sum = 0;
  for (const [each, { ticks }] of all) if (each === pid || descends(each, pid, all)) sum += ticks;
  return sum;
}

function statOf(pid: string): [number, { parent: number; ticks: number }][] {
  try {
    // The name in brackets may hold anything, a bracket too.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ")
      .map(Number);
    const [user = 0, system = 0, waitedUser = 0, waitedSystem = 0] = fields.slice(11, 15);
    return [[Number(pid), { parent: fields[1] ?? 0, ticks: user + system + waitedUser + waitedSystem }]];
  } catch {
    return [];
  }
}

function descends(pid: number, ancestor: number, all: ReadonlyMap<number, { parent: number }>): boolean {
  const parent = all.get(pid)?.parent ?? 0;
  return parent === ancestor || (parent > 1 && descends(parent, ancestor, all));
}

/** Largest resident size that a process ever had, in bytes. */
export function peakRssOf(pid: number): number {
  const [, kilobytes = "0"] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) * 1024;
}

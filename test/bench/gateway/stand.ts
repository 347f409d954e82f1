import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runTool } from "../../real/parts/part.ts";
import { freePort, startPartProcess, type PartProcess } from "../../real/parts/process.ts";
import type { LoadOptions, LoadResult } from "./load.ts";
import type { Subject } from "./partners.ts";
import type { ProbeResult } from "./probe.ts";

/** Which core runs what: the gateway that is measured alone on one, everything around it on the other. */
const GATEWAY_CORE = "0";
const WORLD_CORE = "1";
/** The kernel counts a process's time in these. */
const TICKS_PER_SECOND = 100;
/** What a gateway still does for calls that were answered, such as exporting their spans, is theirs too. */
const SETTLE_MS = 1_500;
const HERE = import.meta.dirname;
const ROOT = resolve(HERE, "../../..");

/** A started gateway. */
export interface Running {
  subject: Subject;
  process: PartProcess;
}

export interface World {
  url: string;
  process: PartProcess;
  seen(): Promise<{ calls: number; exports: number; exportedBytes: number; exportedCalls: number }>;
}

export async function startWorld(): Promise<World> {
  const port = await freePort();
  const process_ = await pinned(WORLD_CORE, process.execPath, [join(HERE, "world.ts"), String(port)], { env: {}, readyLine: /listening/ });
  const url = `http://127.0.0.1:${port}`;
  return { url, process: process_, seen: async () => (await (await fetch(`${url}/seen`)).json()) as Awaited<ReturnType<World["seen"]>> };
}

export async function start(subject: Subject): Promise<Running> {
  const started = await pinned(GATEWAY_CORE, subject.command, subject.args, subject);
  const isUp = () =>
    fetch(`http://127.0.0.1:${subject.port}/`).then(
      () => true,
      () => false,
    );
  while (!(await isUp())) await sleep(200);
  return { subject, process: started };
}

function pinned(
  core: string,
  command: string,
  args: readonly string[],
  options: { env: Record<string, string>; readyLine: RegExp },
): Promise<PartProcess> {
  return startPartProcess("taskset", ["-c", core, command, ...args], { ...options, limitMs: 120_000 });
}

/**
 * `nightshift gateway` as a user starts it, with assignment (an experiment at one half) and capture on. With `probeFile` it times every call from inside.
 * `dir` takes its data.
 */
export async function nightshift(world: string, dir: string, probeFile?: string): Promise<Subject> {
  const port = await freePort();
  const model = join(dir, "model");
  mkdirSync(model, { recursive: true });
  for (const name of ["config.json", "model.safetensors"]) writeFileSync(join(model, name), "{}");
  const file = join(dir, `gateway-${port}.json`);
  const gateway = { host: "127.0.0.1", port, controlUrl: world, collectorUrl: world };
  const agents = { shop: { model: "shop-model", baseModel: model, policyServers: [{ url: world }] } };
  writeFileSync(file, JSON.stringify({ dataDir: join(dir, `data-${port}`), logLevel: "warn", gateway, agents }));
  return {
    name: probeFile === undefined ? "nightshift" : "nightshift-probed",
    version: "this tree",
    command: process.execPath,
    args: [
      ...(probeFile === undefined ? [] : ["--import", join(HERE, "probe.ts")]),
      join(ROOT, "src/cli/main.ts"),
      "gateway",
      "--config",
      file,
      "--json",
    ],
    env: probeFile === undefined ? {} : { NIGHTSHIFT_BENCH_PROBE: probeFile },
    port,
    readyLine: /"ready"/,
    headers: {},
  };
}

/** The least that a proxy can do, timed from inside too. */
export async function bare(world: string, probeFile: string): Promise<Subject> {
  const port = await freePort();
  return {
    ...{ name: "bare", version: `node ${process.version}`, command: process.execPath, port, readyLine: /listening/, headers: {} },
    args: ["--import", join(HERE, "probe.ts"), join(HERE, "bare.ts"), String(port), world],
    env: { NIGHTSHIFT_BENCH_PROBE: probeFile },
  };
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
  return Promise.all([GATEWAY_CORE, WORLD_CORE].map(start));
}

/** What a gateway is given to do. */
export type Load = Omit<LoadOptions, "url" | "headers" | "model" | "isExact">;

export interface Measured extends LoadResult {
  cpuMicrosPerCall: number;
  callsPerCpuSecond: number;
  /** Share of one core over the run. */
  cpuShare: number;
}

/** Runs one load against a gateway and says what the gateway's process, with its children, used of its core. */
export async function measure(running: Running, options: Load & { isExact: boolean }): Promise<Measured> {
  const before = ticksOf(running.process.pid);
  const startMs = performance.now();
  const result = await load({
    ...options,
    url: `http://127.0.0.1:${running.subject.port}/v1/chat/completions`,
    headers: running.subject.headers,
  });
  await sleep(SETTLE_MS);
  const used = (ticksOf(running.process.pid) - before) / TICKS_PER_SECOND;
  return {
    ...result,
    cpuMicrosPerCall: (used / result.calls) * 1e6,
    callsPerCpuSecond: result.calls / used,
    cpuShare: used / ((performance.now() - startMs) / 1_000),
  };
}

export async function load(options: Omit<LoadOptions, "model">): Promise<LoadResult> {
  const args = ["-c", WORLD_CORE, process.execPath, join(HERE, "load.ts"), JSON.stringify({ ...options, model: "shop-model" })];
  const output = await runTool("taskset", args, { problem: "the load generator failed", fix: "read its message" });
  return JSON.parse(output) as LoadResult;
}

/** What the probe saw since it was last asked. */
export async function readProbe(running: Running, probeFile: string): Promise<ProbeResult> {
  rmSync(probeFile, { force: true });
  process.kill(running.process.pid, "SIGUSR2");
  for (;;) {
    try {
      return JSON.parse(readFileSync(probeFile, "utf8")) as ProbeResult;
    } catch {
      await sleep(20);
    }
  }
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

/** User and system time of a process and its descendants, those included that it has waited for. */
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

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runTool } from "../../real/parts/part.ts";
import { freePort, type PartProcess } from "../../real/parts/process.ts";
import { cpuSecondsOf, pinned, SUBJECT_CORE, WORLD_CORE } from "../machine.ts";
import type { LoadOptions, LoadResult } from "./load.ts";
import type { Subject } from "./partners.ts";
import type { ProbeResult } from "./probe.ts";

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
  const started = await pinned(SUBJECT_CORE, subject.command, subject.args, subject);
  const isUp = () =>
    fetch(`http://127.0.0.1:${subject.port}/`).then(
      () => true,
      () => false,
    );
  while (!(await isUp())) await sleep(200);
  return { subject, process: started };
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
  const before = cpuSecondsOf(running.process.pid);
  const startMs = performance.now();
  const result = await load({
    ...options,
    url: `http://127.0.0.1:${running.subject.port}/v1/chat/completions`,
    headers: running.subject.headers,
  });
  await sleep(SETTLE_MS);
  const used = cpuSecondsOf(running.process.pid) - before;
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

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client } from "pg";
import { fetch } from "undici";
import { kafkaPart, startKafka } from "../../real/parts/kafka.ts";
import { ensurePart, runTool } from "../../real/parts/part.ts";
import { postgresPart, startPostgres } from "../../real/parts/postgres.ts";
import { withTopics } from "../../real/kafka/world.ts";
import { cpuSecondsOf, keepAwake, peakRssOf, pinned, scratchDirectory, SUBJECT_CORE, watchMachine, WORLD_CORE } from "../machine.ts";
import { median } from "../quantiles.ts";
import { CONVERSATIONS_PER_REQUEST, conversationsRequest, LLM_SPANS_PER_REQUEST } from "./conversations.ts";

/**
 * LLM spans of 8 KB per second of CPU from the topic to judged trajectories: of `nightshift ingest` with PostgreSQL apart, and of all of capture in one process with
 * PGlite. `npm run bench -- ingest [--rounds N] [--requests N]`
 */
const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" }, requests: { type: "string", default: "150" } } });
const [rounds, requests] = [Number(values.rounds), Number(values.requests)];
const ROOT = resolve(import.meta.dirname, "../../..");

/** Requests before anything counts, so that compilers are done. */
const WARM_UP = 20;

interface Measured {
  spansPerCpuSecond: number;
  spansPerSecond: number;
  trajectories: number;
  peakRssMb: number;
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
for (const part of [kafkaPart, postgresPart]) await ensurePart(part, (line) => void process.stderr.write(`${line}\n`));
const dir = scratchDirectory();
// Everything that this process starts runs on the core that is not measured, unless told otherwise.
await runTool("taskset", ["-p", "-c", WORLD_CORE, String(process.pid)], {
  problem: "this process could not be pinned",
  fix: "Install util-linux.",
});
const awake = await keepAwake();
const foreign = watchMachine();
const results = { postgres: [] as Measured[], pglite: [] as Measured[] };
try {
  for (let round = 0; round < rounds; round++) {
    process.stderr.write(`round ${round + 1} of ${rounds}\n`);
    results.postgres.push(await onPostgres(round));
    results.pglite.push(await onPglite(round));
  }
} finally {
  await Promise.all(awake.map((each) => each.stop("SIGTERM", 5_000)));
  rmSync(dir, { recursive: true, force: true });
}
const bars = [
  barOf("`nightshift ingest` on PostgreSQL, LLM spans per CPU second of its process", results.postgres, 2_000),
  barOf("receiver, ingest and PGlite in one process, LLM spans per CPU second", results.pglite, 800),
];
const { others, host } = foreign();
for (const [name, all] of Object.entries(results))
  say(`${name.padEnd(10)} ${all.map(({ spansPerCpuSecond }) => spansPerCpuSecond.toFixed(0).padStart(7)).join("")} LLM spans/CPU s`);
for (const { what, bar, value, holds } of bars) say(`${holds ? "holds " : "MISSED"}  ${what}: ${value.toFixed(0)} (${bar})`);
const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, othersShare: others, withheldByHostShare: host };
say(JSON.stringify({ bench: "ingest", machine, requests, llmSpansPerRequest: LLM_SPANS_PER_REQUEST, bars, results }));

function barOf(what: string, all: readonly Measured[], least: number) {
  const value = median(all.map(({ spansPerCpuSecond }) => spansPerCpuSecond));
  return { what, bar: `>= ${least}`, value, holds: value >= least };
}

/** From before the first record to when all trajectories are there. */
async function measured(pid: number, work: () => Promise<unknown>, trajectories: () => Promise<number>): Promise<Measured> {
  const expected = requests * CONVERSATIONS_PER_REQUEST;
  const before = cpuSecondsOf(pid);
  const startMs = performance.now();
  await work();
  let found = 0;
  while ((found = await trajectories()) < expected) await sleep(500);
  const used = cpuSecondsOf(pid) - before;
  const spans = requests * LLM_SPANS_PER_REQUEST;
  return {
    spansPerCpuSecond: spans / used,
    spansPerSecond: (spans / (performance.now() - startMs)) * 1_000,
    trajectories: found,
    peakRssMb: peakRssOf(pid) / 1024 / 1024,
  };
}

async function onPostgres(round: number): Promise<Measured> {
  const [kafka, postgres] = [await startKafka(), await startPostgres()];
  const watcher = new Client({ connectionString: postgres.url });
  try {
    const own = join(dir, `postgres-${round}`);
    mkdirSync(own);
    const { tls: _tls, sasl: _sasl, ...transport } = await withTopics(kafka, {}, { partitions: 4 });
    writeFileSync(join(own, "url"), postgres.url);
    const config = {
      dataDir: own,
      logLevel: "warn",
      store: { driver: "postgres", urlFile: join(own, "url") },
      transport,
      ingest: { port: 0 },
      capture: { graceMs: 500 },
    };
    writeFileSync(join(own, "nightshift.json"), JSON.stringify(config));
    const args = [join(ROOT, "src/cli/main.ts"), "ingest", "--config", join(own, "nightshift.json"), "--json"];
    const ingest = await pinned(SUBJECT_CORE, process.execPath, args, { env: {}, readyLine: /"ready"/ });
    await watcher.connect();
    const produce = async (count: number, firstSeed: number): Promise<void> => {
      const options = JSON.stringify({ transport, requests: count, firstSeed });
      await runTool(process.execPath, [join(import.meta.dirname, "produce.ts"), options], {
        problem: "nothing was produced",
        fix: "read its message",
      });
    };
    const count = async () => Number((await watcher.query("select count(*) from trajectories")).rows[0]?.count);
    await produce(WARM_UP, 1);
    while ((await count()) < WARM_UP * CONVERSATIONS_PER_REQUEST) await sleep(200);
    const warm = await count();
    const result = await measured(
      ingest.pid,
      () => produce(requests, 1_000_000 * (round + 1)),
      async () => (await count()) - warm,
    );
    await ingest.stop();
    return result;
  } finally {
    await watcher.end().catch(() => undefined);
    await kafka.close();
    await postgres.remove();
  }
}

async function onPglite(round: number): Promise<Measured> {
  const child = spawn(
    "taskset",
    ["-c", SUBJECT_CORE, process.execPath, join(import.meta.dirname, "embedded.ts"), join(dir, `pglite-${round}`)],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<number> => Number(((await lines.next()).value as string).split(" ")[1]);
  const url = `http://127.0.0.1:${await next()}/v1/traces`;
  const count = (): Promise<number> => {
    child.stdin.write("\n");
    return next();
  };
  const send = async (many: number, firstSeed: number): Promise<void> => {
    for (let index = 0; index < many; index++) {
      const headers = { "content-type": "application/x-protobuf", "content-encoding": "gzip" };
      const response = await fetch(url, { method: "POST", headers, body: conversationsRequest(firstSeed + index) });
      if (response.status !== 200) throw new Error(`the collector answered ${response.status}`);
    }
  };
  await send(WARM_UP, 1);
  while ((await count()) < WARM_UP * CONVERSATIONS_PER_REQUEST) await sleep(200);
  const warm = await count();
  const result = await measured(
    child.pid ?? 0,
    () => send(requests, 1_000_000 * (round + 1)),
    async () => (await count()) - warm,
  );
  const gone = once(child, "exit");
  child.stdin.end();
  await gone;
  return result;
}

import { rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { kafkaPart, startKafka } from "../../real/parts/kafka.ts";
import { ensurePart, runTool } from "../../real/parts/part.ts";
import type { PartProcess } from "../../real/parts/process.ts";
import { cpuSecondsOf, keepAwake, peakRssOf, scratchDirectory, watchMachine, WORLD_CORE } from "../machine.ts";
import type { LoadOptions, LoadResult } from "./load.ts";
import type { PayloadSpec } from "./payload.ts";
import { report, type Measured, type Results } from "./report.ts";
import { buildNightshift, startNightshift, startStock, stockCollector, type Subject } from "./subjects.ts";

/**
 * Spans per second of CPU of our collector beside the stock one, same requests, same Kafka, acks=all, redaction off and on, and the time until the answer. Rounds go A B A B, so
 * that a machine that is busy meanwhile hits both. `npm run bench -- collector [--rounds N] [--seconds S]`
 */
const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" }, seconds: { type: "string", default: "5" } } });
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);

const small: Omit<PayloadSpec, "gzip"> = { spans: 512, contentBytes: 0, personalShare: 0 };
const llm: Omit<PayloadSpec, "gzip"> = { spans: 64, contentBytes: 7_400, personalShare: 0.3 };

interface Load extends Pick<LoadOptions, "payload" | "connections" | "rate"> {
  name: string;
  redacts: readonly boolean[];
  /** Where it is not what was asked for. */
  seconds?: number;
  /** Who does not take part. */
  without?: string;
}
const closed = { connections: 64, rate: null };
/** A minute: of forty requests the 99th percentile is the one that a machine happened to hold up. */
const at = (rate: number) => ({ connections: 64, rate, seconds: 60 });
const LOADS: readonly Load[] = [
  // The bars' own load comes first: what a process is at its largest counts from its start.
  { name: "64 LLM spans of 8 KB, gzip", payload: { ...llm, gzip: true }, ...closed, redacts: [false, true] },
  { name: "512 small spans, plain", payload: { ...small, gzip: false }, ...closed, redacts: [false] },
  { name: "512 small spans, gzip", payload: { ...small, gzip: true }, ...closed, redacts: [false] },
  { name: "64 LLM spans of 8 KB, plain", payload: { ...llm, gzip: false }, ...closed, redacts: [false] },
  // What either can bear, one core each: with redaction on, with redaction off, and the stock one compresses nothing there, which it could not at this rate.
  { name: "64 LLM spans of 8 KB, gzip, 5 requests/s", payload: { ...llm, gzip: true }, ...at(5), redacts: [true] },
  {
    name: "64 LLM spans of 8 KB, gzip, 40 requests/s",
    payload: { ...llm, gzip: true },
    ...at(40),
    redacts: [false],
    without: "otelcol, gzip",
  },
];

/** Small, so that the bench fills no disk; records of both sides fit. */
const TOPIC = { "retention.bytes": "67108864", "segment.bytes": "33554432", "max.message.bytes": "8000000" };

const say = (line: string): void => void process.stderr.write(`${line}\n`);
for (const part of [kafkaPart, stockCollector]) await ensurePart(part, say);
await buildNightshift();
const dir = scratchDirectory();
const started: PartProcess[] = [...(await keepAwake())];
// The broker runs beside the load generator, on the core that is not measured.
await runTool("taskset", ["-p", "-c", WORLD_CORE, String(process.pid)], {
  problem: "this process could not be pinned",
  fix: "Install util-linux.",
});
const kafka = await startKafka();
try {
  const subjects: Subject[] = [];
  const starts: { redacts: boolean; start: typeof startNightshift }[] = [
    { redacts: false, start: startNightshift },
    { redacts: false, start: (place) => startStock(place, "none") },
    { redacts: false, start: (place) => startStock(place, "gzip") },
    { redacts: true, start: startNightshift },
    { redacts: true, start: (place) => startStock(place, "none") },
  ];
  for (const { redacts, start } of starts) {
    const topic = `bench-${subjects.length}`;
    await kafka.createTopic(topic, { partitions: 4, config: TOPIC });
    const subject = await start({ dir, brokers: kafka.brokers, topic, redacts });
    started.push(subject.process);
    subjects.push(subject);
  }
  say("warming up");
  for (const subject of subjects) await load({ url: subject.url, payload: { ...llm, gzip: true }, ...closed, seconds: 6 });
  const foreign = watchMachine();
  const results: Results = {};
  for (let round = 0; round < rounds; round++) {
    say(`round ${round + 1} of ${rounds}`);
    for (const each of LOADS) {
      for (const subject of subjects.filter(({ redacts, title }) => each.redacts.includes(redacts) && each.without !== title)) {
        ((results[each.name] ??= {})[subject.title] ??= []).push(await measure(subject, each));
      }
    }
  }
  report(results, subjects, foreign());
} finally {
  await Promise.all(started.map((each) => each.stop("SIGTERM", 5_000)));
  await kafka.close();
  rmSync(dir, { recursive: true, force: true });
}

async function measure(subject: Subject, { payload, connections, rate, seconds: own }: Load): Promise<Measured> {
  const before = cpuSecondsOf(subject.process.pid);
  const stored = await kafka.written(subject.topic);
  const result = await load({ url: subject.url, payload, connections, rate, seconds: own ?? seconds });
  const used = cpuSecondsOf(subject.process.pid) - before;
  return {
    ...result,
    spansPerCpuSecond: result.spans / used,
    cpuMsPerRequest: (used / result.requests) * 1_000,
    peakRssBytes: peakRssOf(subject.process.pid),
    // One request is one record or, where it is too large for one, several.
    missing: Math.max(0, result.requests - ((await kafka.written(subject.topic)) - stored)),
  };
}

async function load(options: LoadOptions): Promise<LoadResult> {
  const args = ["-c", WORLD_CORE, process.execPath, join(import.meta.dirname, "load.ts"), JSON.stringify(options)];
  return JSON.parse(await runTool("taskset", args, { problem: "the load generator failed", fix: "read its message" })) as LoadResult;
}

import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { collectorOf } from "../../real/parts/otelcol.ts";
import { partDirectory, runTool } from "../../real/parts/part.ts";
import { freePort, type PartProcess } from "../../real/parts/process.ts";
import { pinned, SUBJECT_CORE } from "../machine.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
export const stockCollector = collectorOf(join(import.meta.dirname, "otelcol.yaml"));

/** A collector under load: ours or the stock one, redacting or not. */
export interface Subject {
  name: "nightshift" | "otelcol";
  redacts: boolean;
  /** What it is called in the report. */
  title: string;
  version: string;
  topic: string;
  url: string;
  process: PartProcess;
}

/** What the stock exporter does to a record; ours travel as they came. */
type Compression = "none" | "gzip";

interface Place {
  dir: string;
  brokers: readonly string[];
  topic: string;
  redacts: boolean;
}

/** As deploy/compose.yaml has it. */
const SMALL = { MALLOC_ARENA_MAX: "2", MALLOC_MMAP_THRESHOLD_: "1048576", NODE_OPTIONS: "--max-semi-space-size=2" };

/** Beside `dist`, which the command line would run from then on, without its page. */
const BUILT = join(ROOT, ".cache/bench/dist");

/** Compiles what the image runs: from source, a process also holds the compiler that takes its types out. */
export async function buildNightshift(): Promise<void> {
  const args = [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", join(ROOT, "tsconfig.build.json"), "--outDir", BUILT];
  await runTool(process.execPath, args, { problem: "Nightshift cannot be compiled", fix: "npm run check" });
}

/** Our collector as a program of its own, the way its image starts it, built before. */
export async function startNightshift({ dir, brokers, topic, redacts }: Place): Promise<Subject> {
  const port = await freePort();
  const own = join(dir, topic);
  mkdirSync(own, { recursive: true });
  const redactionKeyFile = join(own, "redaction.key");
  writeFileSync(redactionKeyFile, randomBytes(32));
  const config = {
    dataDir: join(own, "data"),
    logLevel: "warn",
    transport: { driver: "kafka", brokers, topics: { traces: topic, logs: topic } },
    collector: { port, redact: redacts, grpc: { enabled: false } },
    tenants: { default: { redactionKeyFile } },
  };
  const file = join(own, "nightshift.json");
  writeFileSync(file, JSON.stringify(config));
  const process_ = await pinned(SUBJECT_CORE, process.execPath, [join(BUILT, "collector/main.js"), "--config", file], {
    ...{ env: SMALL, readyLine: /"ready"/ },
  });
  const title = redacts ? "nightshift, redacting" : "nightshift";
  return { name: "nightshift", redacts, title, version: "this tree", topic, url: `http://127.0.0.1:${port}`, process: process_ };
}

/** The stock Collector with its Kafka exporter: it answers when every in-sync replica has the request, without a queue of its own. */
export async function startStock({ dir, brokers, topic, redacts }: Place, compression: Compression): Promise<Subject> {
  const port = await freePort();
  const config = {
    receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${port}`, max_request_body_size: 67_108_864 } } } },
    processors: redacts ? { redaction: { allow_all_keys: true, blocked_values: PATTERNS, summary: "silent" } } : {},
    exporters: {
      kafka: {
        brokers,
        traces: { topic, encoding: "otlp_proto" },
        sending_queue: { enabled: false },
        retry_on_failure: { enabled: false },
        producer: {
          required_acks: -1,
          compression,
          max_message_bytes: 4_000_000,
          allow_auto_topic_creation: false,
        },
      },
    },
    service: {
      telemetry: { metrics: { level: "none" }, logs: { level: "info" } },
      pipelines: { traces: { receivers: ["otlp"], processors: redacts ? ["redaction"] : [], exporters: ["kafka"] } },
    },
  };
  const file = join(dir, `${topic}.yaml`);
  writeFileSync(file, stringify(config));
  const binary = join(partDirectory(stockCollector), "otelcol");
  const process_ = await pinned(SUBJECT_CORE, binary, ["--config", file], {
    ...{ env: { GOMAXPROCS: "1" }, readyLine: /Everything is ready/ },
  });
  const title = `otelcol${compression === "none" ? "" : `, ${compression}`}${redacts ? ", redacting" : ""}`;
  return { name: "otelcol", redacts, title, version: stockCollector.version, topic, url: `http://127.0.0.1:${port}`, process: process_ };
}

/** What ours looks for, as far as RE2 can say it: its check digits and contexts have no counterpart there. */
const PATTERNS = [
  "[\\p{L}\\p{N}._%+'-]{1,64}@(?:[\\p{L}\\p{N}-]{1,63}\\.){1,8}\\p{L}{2,63}",
  "\\b[A-Z]{2}\\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\\b",
  "\\b\\d(?:[ -]?\\d){12,18}\\b",
  "\\+[\\d(][\\d ().\\-/]{6,24}",
  "(?:\\(\\d{3}\\) ?|\\b\\d{3}[-. ])\\d{3}[-. ]\\d{4}\\b",
  "\\b0\\d{2,4}[ /-]\\d{3,4}(?:[ -]?\\d{2,4}){1,2}\\b",
  "\\b(?:(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)\\.){3}(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)\\b",
  "\\b[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,8}\\b",
  "-----BEGIN [A-Z ]*PRIVATE KEY-----[\\s\\S]*?-----END [A-Z ]*PRIVATE KEY-----",
  "\\b(?:AKIA|ASIA)[A-Z0-9]{16}\\b",
  "\\bsk-[A-Za-z0-9_-]{20,}",
  "\\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}",
  "\\bxox[abpors]-[A-Za-z0-9-]{10,}",
  "\\bnpm_[A-Za-z0-9]{36}",
  "[a-z]+://[^\\s/@:]+:[^\\s/@]+@",
];

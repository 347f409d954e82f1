import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { startProgram, type Started } from "../../../deploy/quickstart/processes.ts";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { killNow, until } from "../../e2e/processes.ts";
import { createSpanSender } from "../../e2e/known-spans.ts";
import { ROOT } from "../../e2e/small-shop.ts";
import { spanJson, traceRequest } from "../../fixtures/otlp/build.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { LIMITS } from "../postgres/limits.ts";

const MAIN = join(ROOT, "src/cli/main.ts");
const children: ChildProcess[] = [];
let directory: string;
let config: string;
let kafka: KafkaServer;
let postgres: PostgresServer;
let database: Database;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "nightshift-processes-"));
  [kafka, postgres] = await Promise.all([startKafka(), startPostgres()]);
  for (const topic of ["otlp_spans", "otlp_logs", "nightshift_dead_letter"]) await kafka.createTopic(topic, { partitions: 3 });
  await writeFile(join(directory, "url"), postgres.url);
  config = join(directory, "nightshift.yaml");
  const store = { driver: "postgres", urlFile: join(directory, "url"), connectTimeoutMs: 2_000 };
  const transport = { driver: "kafka", brokers: kafka.brokers, sessionTimeoutMs: 6_000 };
  await writeFile(config, stringify({ dataDir: join(directory, "data"), store, transport, collector: { port: 0 }, ingest: { port: 0 } }));
  database = createPostgres({ ...LIMITS, url: postgres.url }, { log: silentLog() });
});
afterAll(async () => {
  for (const child of children) await killNow(child);
  await database.close();
  await Promise.all([kafka.close(), postgres.remove()]);
  await rm(directory, { recursive: true, force: true });
});

async function start<Ready>(command: string, name: string): Promise<Started<Ready>> {
  const args = [MAIN, command, "--config", config, "--json"];
  const started = await startProgram<Ready>({ name, args, env: {}, logFile: join(directory, `${name}.log`) });
  children.push(started.child);
  return started;
}

const LARGE_SPAN = "1a".repeat(8);

/** Larger than a record of the topic: it goes through the artifact store. */
async function sendLarge(collectorUrl: string): Promise<void> {
  const span = spanJson({ traceId: "1b".repeat(16), spanId: LARGE_SPAN, attributes: { text: randomBytes(1_500_000).toString("hex") } });
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${collectorUrl}/v1/traces`, { method: "POST", headers, body: JSON.stringify(traceRequest([span])) });
  expect(response.status).toBe(200);
}

test("collector and two ingests as processes; an ingest, the database and the broker are killed: every acknowledged span is stored", async () => {
  const ingest = await start("ingest", "ingest-1");
  const other = await start<{ ingest: string }>("ingest", "ingest-2");
  const readiness = async () => {
    const answer = await fetch(`${other.ready.ingest}/ready`);
    return { ...((await answer.json()) as { reason?: string }), status: answer.status };
  };
  await until("the ingest ready", 60_000, async () => ((await readiness()).status === 200 ? true : null));
  const collector = await start<{ collector: string }>("collector", "collector");
  const senders = [1, 2, 3].map((seed) => createSpanSender(collector.ready.collector, seed));
  const accepted = (): number => senders.reduce((sum, sender) => sum + sender.accepted.size, 0);
  const untilAccepted = (count: number) => until(`${count} accepted`, 60_000, () => (accepted() >= count ? true : null));

  await untilAccepted(40);
  await sendLarge(collector.ready.collector);
  await killNow(ingest.child);
  await untilAccepted(80);
  await postgres.kill();
  // Nothing of the agents' is refused while the database is away: Kafka keeps it.
  await untilAccepted(accepted() + 40);
  expect(await readiness()).toMatchObject({ status: 503, reason: "the database does not answer" });
  await postgres.restart();
  await kafka.kill();
  await until("the ingest not ready", 20_000, async () => ((await readiness()).reason?.startsWith("no member") === true ? true : null));
  await kafka.restart();
  await untilAccepted(accepted() + 40);
  await Promise.all(senders.map((sender) => sender.stop()));

  const wanted = [LARGE_SPAN, ...senders.flatMap((sender) => [...sender.accepted])];
  const missing = await until("all stored", 60_000, async () => {
    const rows = await database.kysely.selectFrom("spans").select("span_id").execute();
    const stored = new Set(rows.map(({ span_id }) => span_id));
    const left = wanted.filter((id) => !stored.has(id));
    return left.length === 0 ? left : null;
  });
  expect(missing).toEqual([]);
  expect(await readiness()).toMatchObject({ status: 200 });
  process.stdout.write(`processes: ${JSON.stringify({ acknowledged: wanted.length, missing: missing.length })}\n`);
  await collector.stop();
  expect(collector.child.exitCode).toBe(0);
  const logs = await Promise.all(["collector", "ingest-1", "ingest-2"].map((name) => readFile(join(directory, `${name}.log`), "utf8")));
  for (const log of logs) expect(log).not.toContain("TimeoutNegativeWarning");
});

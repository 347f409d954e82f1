import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startIngest } from "../../../src/app/capture.ts";
import { startReceiver } from "../../../src/app/receiver.ts";
import { createFileArtifactStore } from "../../../src/artifact/file.ts";
import { parseConfig, type Config } from "../../../src/config.ts";
import { silentLog } from "../../../src/log.ts";
import type { Database } from "../../../src/store/database.ts";
import { createPostgres } from "../../../src/store/postgres.ts";
import { until } from "../../e2e/processes.ts";
import { openTransport, withTopics } from "../kafka/world.ts";
import type { KafkaServer } from "../parts/kafka.ts";
import { startOtelcol, type Otelcol } from "../parts/otelcol.ts";
import type { PostgresServer } from "../parts/postgres.ts";
import { LIMITS } from "../postgres/limits.ts";

/** Topics of their own, ingest behind them, and the database that it fills. All intakes redact with the same key. */
export interface Intake {
  topics: { traces: string; logs: string };
  database: Database;
  /** Resolves once so many spans and log events are stored. */
  untilStored(wanted: { spans: number; logs: number }): Promise<void>;
  /** Span ids, in their order. */
  spanIds(): Promise<string[]>;
  /** Closes every conversation, then answers all that was learned from them. */
  learned(): Promise<Learned>;
  /** Starts our own collector before the same topics. With `token` only who brings it may write. */
  startReceiver(token?: string): Promise<{ url: string; close(): Promise<void> }>;
  close(): Promise<void>;
}

export interface Learned {
  trajectories: Record<string, unknown>[];
  messages: Record<string, unknown>[];
}

const log = silentLog();
const HOUR_MS = 3_600_000;

export async function startIntake(
  servers: { kafka: KafkaServer; postgres: PostgresServer },
  name: string,
  topic: { config?: Record<string, string> } = {},
): Promise<Intake> {
  const directory = mkdtempSync(join(tmpdir(), "nightshift-intake-"));
  const key = join(directory, "redaction.key");
  writeFileSync(key, createHash("sha256").update("one key for all intakes").digest());
  const transport = await withTopics(servers.kafka, {}, { partitions: 2, ...topic });
  const config = configFor({ directory, key, transport });
  const artifacts = createFileArtifactStore({ dir: join(directory, "artifacts") });
  const database = createPostgres({ ...LIMITS, url: await servers.postgres.createDatabase(name) }, { log });
  await database.migrate();
  const source = openTransport(transport);
  // Conversations end when the clock is moved on, and not before: all that belongs to them has come by then.
  let aheadMs = 0;
  const ingest = await startIngest(config, { transport: source, artifacts, database, log, now: () => Date.now() + aheadMs });
  const { kysely } = database;
  return {
    topics: transport.topics,
    database,
    untilStored: (wanted) =>
      until(`${wanted.spans} spans and ${wanted.logs} log events in ${name}`, 60_000, async () => {
        const spans = await kysely.selectFrom("spans").select("span_id").execute();
        const logs = await kysely.selectFrom("log_events").select("hash").execute();
        return spans.length >= wanted.spans && logs.length >= wanted.logs ? true : null;
      }).then(() => undefined),
    async spanIds() {
      const rows = await kysely.selectFrom("spans").select("span_id").orderBy("span_id").execute();
      return rows.map(({ span_id }) => span_id);
    },
    async learned() {
      aheadMs += HOUR_MS;
      await ingest.sweep();
      const trajectories = await kysely.selectFrom("trajectories").selectAll().orderBy("id").orderBy("version").execute();
      return { trajectories, messages: await kysely.selectFrom("messages").selectAll().orderBy("hash").execute() };
    },
    async startReceiver(token) {
      const edge = openTransport(transport);
      const receiver = await startReceiver(withToken(config, token), { transport: edge, artifacts, log, now: Date.now });
      return {
        url: `http://127.0.0.1:${receiver.port}`,
        async close() {
          await receiver.close();
          await edge.close();
        },
      };
    },
    async close() {
      await ingest.close();
      await source.close();
      await database.close();
      rmSync(directory, { recursive: true });
    },
  };
}

function configFor(given: { directory: string; key: string; transport: Config["transport"] }): Config {
  const agents = { shop: { model: "tiny", baseModel: "tiny", match: { serviceName: "shop-agent" } } };
  const config = parseConfig({ collector: { port: 0 }, tenants: { default: { redactionKeyFile: given.key } }, agents });
  return { ...config, dataDir: given.directory, transport: given.transport };
}

function withToken(config: Config, token: string | undefined): Config {
  if (token === undefined || config.tenants["default"] === undefined) return config;
  const collectorTokenHashes = [createHash("sha256").update(token).digest("hex")];
  return { ...config, tenants: { default: { ...config.tenants["default"], collectorTokenHashes } } };
}

/** The stock Collector straight before an intake's topics. */
export function startStock(
  { topics }: Pick<Intake, "topics">,
  brokers: readonly string[],
  options: { env?: Record<string, string>; files?: readonly string[] } = {},
): Promise<Otelcol> {
  const env = { KAFKA_BROKERS: brokers.join(","), KAFKA_TRACES_TOPIC: topics.traces, KAFKA_LOGS_TOPIC: topics.logs, ...options.env };
  return startOtelcol(["otlp.yaml", "kafka.yaml", ...(options.files ?? [])], env);
}

/** One request as an SDK sends it, not repeated. */
export function post(url: string, signal: "traces" | "logs" | "metrics", body: Uint8Array<ArrayBuffer>): Promise<Response> {
  return fetch(`${url}/v1/${signal}`, { method: "POST", headers: { "content-type": "application/x-protobuf" }, body });
}

/** As an SDK sends it: repeated while the answer is 503, for a minute. Resolves to the status of the other answer. */
export function send(...request: Parameters<typeof post>): Promise<number> {
  return until("another answer than 503", 60_000, async () => {
    const { status } = await post(...request);
    return status === 503 ? null : status;
  });
}

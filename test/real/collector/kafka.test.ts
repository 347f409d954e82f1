import kafkajs, { CompressionTypes } from "kafkajs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadTraces } from "../../../src/trace/span-store.ts";
import { itemsIn, loadedRecordings } from "../../fixtures/otlp/loaded.ts";
import { agentOf, playAgent } from "../../fixtures/otlp/sdk/record.ts";
import { readTopic } from "../kafka/world.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { startPostgres, type PostgresServer } from "../parts/postgres.ts";
import { send, startIntake, startStock, type Intake } from "./intake.ts";
import { largeSpans } from "./large-spans.ts";
import { columnsWith, rowsOf, storedPseudonyms } from "./raw-tables.ts";
import { countsOf, RECORDED_SDKS, recordingOf, RECORDINGS, SENSITIVE } from "./recordings.ts";

let kafka: KafkaServer;
let postgres: PostgresServer;
beforeAll(async () => {
  [kafka, postgres] = await Promise.all([startKafka(), startPostgres()]);
});
afterAll(async () => {
  await Promise.all([kafka.close(), postgres.remove()]);
});

const intakeFor = (name: string): Promise<Intake> => startIntake({ kafka, postgres }, name);

test("the same telemetry through our collector and the stock one: the same trajectories and pseudonyms, nothing sensitive stored", async () => {
  const [ours, theirs] = [await intakeFor("ours"), await intakeFor("theirs")];
  const [receiver, stock] = [await ours.startReceiver(), await startStock(theirs, kafka.brokers)];
  for (const { url } of [receiver, stock]) {
    for (const { signal, body } of RECORDINGS) expect(await send(url, signal, body)).toBe(200);
  }
  const counts = countsOf(RECORDINGS);
  await Promise.all([ours.untilStored(counts), theirs.untilStored(counts)]);
  const learned = await ours.learned();
  // Recordings of one framework share its session, and are one conversation.
  expect(learned.trajectories.length).toBeGreaterThan(RECORDED_SDKS.length / 2);
  expect(await theirs.learned()).toEqual(learned);

  const pseudonyms = await storedPseudonyms(ours.database);
  expect(pseudonyms.map((pseudonym) => pseudonym.slice(1, -10))).toEqual(Object.keys(SENSITIVE).toSorted());
  expect(await storedPseudonyms(theirs.database)).toEqual(pseudonyms);
  for (const { database } of [ours, theirs]) {
    for (const sensitive of Object.values(SENSITIVE)) expect(await columnsWith(database, sensitive)).toEqual([]);
    // What was not taken out is found: the search does look into bytes and documents.
    expect(await columnsWith(database, "lookup_order")).toEqual(expect.arrayContaining(["log_events.raw", "messages.body", "spans.raw"]));
  }
  // The exposure that the README names: between a stock Collector and ingest all of it lies in the topics.
  expect(await sensitiveInTopics(ours)).toEqual([]);
  expect(await sensitiveInTopics(theirs)).toEqual(Object.keys(SENSITIVE));
  await Promise.all([receiver.close(), stock.stop(), ours.close(), theirs.close()]);
});

test("two hundred secrets and personal items in every recording, by the stock collector: no table has any", async () => {
  const intake = await intakeFor("loaded");
  const stock = await startStock(intake, kafka.brokers);
  const requests = (await loadedRecordings()).map(({ signal, bytes }) => ({ signal, body: new Uint8Array(bytes) }));
  for (const { signal, body } of requests) expect(await send(stock.url, signal, body)).toBe(200);
  await intake.untilStored(countsOf(requests));
  const { messages } = await intake.learned();
  expect(itemsIn(JSON.stringify(messages))).toEqual([]);
  const rows = await rowsOf(intake.database);
  expect(rows).toContain("lookup_order");
  expect(itemsIn(rows)).toEqual([]);
  await Promise.all([stock.stop(), intake.close()]);
});

/** Kinds of sensitive texts that any record of the topics holds. */
async function sensitiveInTopics({ topics }: Intake): Promise<string[]> {
  const requests = (wanted: "traces" | "logs") => RECORDINGS.filter(({ signal }) => signal === wanted).length;
  const spans = await readTopic(kafka.brokers, topics.traces, requests("traces"));
  const logs = await readTopic(kafka.brokers, topics.logs, requests("logs"));
  const bytes = Buffer.concat([...spans, ...logs].map(({ value }) => value ?? Buffer.alloc(0)));
  return Object.entries(SENSITIVE).flatMap(([kind, text]) => (bytes.includes(text) ? [kind] : []));
}

const CODECS = {
  none: [],
  gzip: [CompressionTypes.GZIP],
  snappy: [CompressionTypes.Snappy],
  lz4: [CompressionTypes.LZ4],
  zstd: [CompressionTypes.ZSTD],
} as const;

test.each(Object.entries(CODECS))("what the stock exporter compresses with %s is stored as it was sent", async (codec, expected) => {
  const intake = await intakeFor(`codec_${codec}`);
  const stock = await startStock(intake, kafka.brokers, { env: { KAFKA_COMPRESSION: codec } });
  const watch = watchCodecs();
  const { traceId, spanIds, texts, request } = largeSpans(codec, { count: 40, bytes: 10_240 });
  expect(await send(stock.url, "traces", request)).toBe(200);
  await intake.untilStored({ spans: spanIds.length, logs: 0 });
  watch.end();
  const { spans } = await loadTraces(intake.database.kysely, "default", [traceId]);
  expect(new Set(spans.map(({ attributes }) => attributes["text"]))).toEqual(new Set(texts));
  expect([...watch.met]).toEqual(expected);
  await Promise.all([stock.stop(), intake.close()]);
});

/** Notes the codecs that consumers of this process meet from now on. */
function watchCodecs(): { met: ReadonlySet<CompressionTypes>; end: () => void } {
  const codecs = kafkajs.CompressionCodecs as Record<number, () => unknown>;
  const originals = { ...codecs };
  const met = new Set<CompressionTypes>();
  for (const [type] of Object.values(CODECS)) {
    if (type === undefined) continue;
    codecs[type] = () => {
      met.add(type);
      return originals[type]?.();
    };
  }
  return { met, end: () => Object.assign(codecs, originals) };
}

// One whose content lies in spans, one whose content lies in log events.
const OVER_GRPC = ["openinference-openai", "opentelemetry-openai"];

test.each(OVER_GRPC)("%s over gRPC through the stock Collector tells the same story as over HTTP through ours", async (sdk) => {
  const name = sdk.replaceAll("-", "_");
  const [ours, theirs] = [await intakeFor(`${name}_http`), await intakeFor(`${name}_grpc`)];
  const [receiver, stock] = [await ours.startReceiver(), await startStock(theirs, kafka.brokers)];
  await playAgent(agentOf(sdk), { endpoint: receiver.url, protocol: "http/protobuf" });
  await playAgent(agentOf(sdk), { endpoint: stock.grpcUrl, protocol: "grpc" });
  const counts = countsOf(recordingOf(sdk));
  await Promise.all([ours.untilStored(counts), theirs.untilStored(counts)]);
  const [overHttp, overGrpc] = [await ours.learned(), await theirs.learned()];
  expect(overHttp.trajectories).toHaveLength(1);
  // Ids and times are of two runs; messages are named by their content.
  expect(overGrpc.messages).toEqual(overHttp.messages);
  const order = ({ trajectories }: typeof overHttp) => trajectories.map(({ message_hashes }) => message_hashes);
  expect(order(overGrpc)).toEqual(order(overHttp));
  await Promise.all([receiver.close(), stock.stop(), ours.close(), theirs.close()]);
});

import { CompressionTypes } from "kafkajs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { recordOf } from "../../conformance/transport.ts";
import { startKafka, type KafkaServer } from "../parts/kafka.ts";
import { openTransport, plainKafka, readTopic, withTopics } from "./world.ts";
import type { TransportRecord } from "../../../src/transport/transport.ts";

let server: KafkaServer;
beforeAll(async () => {
  server = await startKafka();
});
afterAll(() => server.close());

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
} as const;

/** Half of it compresses, half does not; larger than one block of any codec. */
const BODY = Buffer.concat([Buffer.alloc(200_000, "a span and another span "), Buffer.from(noise(200_000))]);

test.each(Object.keys(CODECS) as (keyof typeof CODECS)[])(
  "%s: what we write is read by us, and passed by the broker's check",
  async (compression) => {
    const config = await withTopics(server, { compression });
    const transport = openTransport(config);
    const got = Promise.withResolvers<TransportRecord>();
    await transport.subscribe(async (record) => got.resolve(record));
    expect(await transport.publish({ ...recordOf(1), body: BODY })).toEqual({ status: "stored" });
    expect(Buffer.from((await got.promise).body).equals(BODY)).toBe(true);
    await transport.close();
  },
);

test.each(Object.entries(CODECS))(
  "%s: what a stranger writes without our headers is read, unredacted, as the configured tenant's",
  async (_, compression) => {
    const config = { ...(await withTopics(server)), tenant: "default" };
    const producer = plainKafka(server.brokers).producer();
    await producer.connect();
    await producer.send({ topic: config.topics.logs, compression, messages: [{ value: BODY, timestamp: "1763725380123" }] });
    await producer.disconnect();
    const transport = openTransport(config);
    const got = Promise.withResolvers<TransportRecord>();
    await transport.subscribe(async (record) => got.resolve(record));
    const { body, ...rest } = await got.promise;
    await transport.close();
    expect(rest).toEqual({ tenant: "default", signal: "logs", encoding: "identity", redacted: false, receivedAtMs: 1_763_725_380_123 });
    expect(Buffer.from(body).equals(BODY)).toBe(true);
  },
);

test("a body that came compressed travels as it came", async () => {
  const config = await withTopics(server);
  const transport = openTransport(config);
  const body = Buffer.from(noise(1_000));
  expect(await transport.publish({ ...recordOf(1), body, encoding: "gzip" })).toEqual({ status: "stored" });
  await transport.close();
  const [message] = await readTopic(server.brokers, config.topics.traces, 1);
  expect(message?.value?.equals(body)).toBe(true);
  expect(Object.fromEntries(Object.entries(message?.headers ?? {}).map(([name, value]) => [name, String(value)]))).toEqual({
    "nightshift-tenant": "default",
    "nightshift-redacted": "true",
    "nightshift-encoding": "gzip",
    "nightshift-received-at-ms": "1",
  });
});

function noise(length: number): Uint8Array {
  let state = 12_345;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
}

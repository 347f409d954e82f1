import kafkajs, { CompressionTypes } from "kafkajs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { recordOf } from "../../conformance/transport.ts";
import { produceFromJava, startKafka, type KafkaServer } from "../parts/kafka.ts";
import { numbers, openTransport, plainKafka, readTopic, withTopics } from "./world.ts";
import { registerCodecs } from "../../../src/transport/kafka/codecs.ts";
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

test.each(["none", "gzip", "snappy", "lz4", "zstd"])("%s: what a Java producer writes is read", async (compression) => {
  const config = await withTopics(server);
  // Lines of which some repeat, some do not, together larger than one block of any codec.
  const lines = numbers(300).map((number) => `${number} ${Buffer.from(noise(400, number)).toString("hex")} ${"span ".repeat(100)}`);
  await produceFromJava(server, { topic: config.topics.traces, compression, lines });
  const transport = openTransport(config);
  const got: string[] = [];
  const all = Promise.withResolvers<void>();
  await transport.subscribe(async ({ body }) => {
    if (got.push(Buffer.from(body).toString()) === lines.length) all.resolve();
  });
  await all.promise;
  await transport.close();
  expect(got).toEqual(lines);
});

test.each(["gzip", "zstd"] as const)(
  "%s: a batch that is a bomb goes to the dead letters without its body, and its partition goes on",
  async (compression) => {
    const config = await withTopics(server);
    const producer = plainKafka(server.brokers).producer();
    await producer.connect();
    const messages = [{ value: "before" }, { value: Buffer.alloc(70 * 1024 * 1024) }, { value: "behind" }];
    await producer.send({ topic: config.topics.traces, compression: CODECS[compression], messages });
    await producer.send({ topic: config.topics.traces, messages: [{ value: "after" }] });
    await producer.disconnect();
    const transport = openTransport(config);
    const got = Promise.withResolvers<TransportRecord>();
    await transport.subscribe(async (record) => got.resolve(record));
    expect(Buffer.from((await got.promise).body).toString()).toBe("after");
    await transport.close();
    const letters = await readTopic(server.brokers, config.topics.deadLetter, 3);
    expect(letters.map(({ value, headers }) => [value, String(headers?.["nightshift-source-offset"])])).toEqual([
      [null, "0"],
      [null, "1"],
      [null, "2"],
    ]);
    expect(String(letters[0]?.headers?.["nightshift-error"])).toContain("its batch inflates too far");
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

function noise(length: number, seed = 12_345): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
}

test("the broker refuses a batch that is not what its codec says: no such batch reaches a consumer", async () => {
  const config = await withTopics(server);
  const { CompressionCodecs } = kafkajs;
  const junk = () => ({ compress: () => Promise.resolve(Buffer.from(noise(100))) });
  const producer = plainKafka(server.brokers).producer({ retry: { retries: 0 } });
  await producer.connect();
  try {
    for (const codec of [CompressionTypes.Snappy, CompressionTypes.LZ4, CompressionTypes.ZSTD] as const) {
      CompressionCodecs[codec] = junk;
      await expect(producer.send({ topic: config.topics.traces, compression: codec, messages: [{ value: "x" }] })).rejects.toMatchObject({
        name: "KafkaJSProtocolError",
      });
    }
  } finally {
    registerCodecs();
    await producer.disconnect();
  }
});

import { once } from "node:events";
import { createRequire } from "node:module";
import { createServer, type AddressInfo } from "node:net";
import { fc, test as property } from "@fast-check/vitest";
import { afterEach, expect, test, vi } from "vitest";
import { mendEncoder } from "../../src/transport/kafka/encoder.ts";
import { mendProduceCopies } from "../../src/transport/kafka/produce-copies.ts";
import { mendRequestQueue } from "../../src/transport/kafka/request-queue.ts";

const RECORD_BATCH = "kafkajs/src/protocol/recordBatch/v0/index.js";

interface Encoder {
  writeBuffer(bytes: Buffer): Encoder;
  buffer: Buffer;
}
interface Batches {
  RecordBatch: (batch: object) => Promise<Encoder>;
}
interface Connection {
  connect(): Promise<unknown>;
  disconnect(): Promise<unknown>;
  send(request: { request: unknown; response: unknown }): Promise<string>;
}

const load = createRequire(import.meta.url);
const Encoder = load("kafkajs/src/protocol/encoder") as new () => Encoder;
const Record = load("kafkajs/src/protocol/recordBatch/record/v0") as (record: object) => Encoder;

/** A second copy of the module, which nobody has mended. */
function ownBatches(): Batches {
  const path = load.resolve(RECORD_BATCH);
  const mended = load.cache[path];
  Reflect.deleteProperty(load.cache, path);
  const own = load(RECORD_BATCH) as Batches;
  if (mended !== undefined) load.cache[path] = mended;
  return own;
}

const message = fc.record({
  key: fc.option(fc.string({ maxLength: 8 })),
  value: fc.integer({ min: 0, max: 60_000 }).map((length) => Buffer.alloc(length, length)),
  headers: fc.dictionary(fc.string({ maxLength: 8 }), fc.string({ maxLength: 8 }), { maxKeys: 2 }),
});

property.prop([fc.array(message, { maxLength: 3 }), fc.nat(3), fc.boolean(), fc.constantFrom(0, 1)])(
  "batches are byte for byte what kafkajs makes of them, with its checksum",
  async (messages, epoch, transactional, compression) => {
    mendEncoder();
    mendProduceCopies();
    const records = () => messages.map((one, offsetDelta) => Record({ ...one, offsetDelta, timestampDelta: offsetDelta }));
    const batch = {
      compression,
      transactional,
      firstTimestamp: 1_795_000_000_000,
      maxTimestamp: 1_795_000_000_007,
      producerEpoch: epoch,
      firstSequence: 7,
    };
    const [own, mended] = [ownBatches(), load(RECORD_BATCH) as Batches];
    expect(own.RecordBatch).not.toBe(mended.RecordBatch);
    const expected = (await own.RecordBatch({ ...batch, records: records() })).buffer;
    expect((await mended.RecordBatch({ ...batch, records: records() })).buffer.equals(expected)).toBe(true);
  },
);

const quiet = { debug() {}, info() {}, warn() {}, error() {}, namespace: () => quiet };
const LARGE = 50_000;
const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const end of ends.splice(0).toReversed()) await end();
});

/** Sends a request of one large piece and some more; resolves to what the broker had of it and the bytes that were put together for it. */
async function sendLarge(answers: boolean): Promise<{ outcome: string; arrived: Buffer; whole: Buffer | undefined }> {
  mendEncoder();
  mendProduceCopies();
  mendRequestQueue();
  const KafkajsConnection = load("kafkajs/src/network/connection") as new (options: unknown) => Connection;
  const socketFactory = (load("kafkajs/src/network/socketFactory") as () => unknown)();
  let arrived = Buffer.alloc(0);
  const broker = createServer((socket) =>
    socket
      .on("error", () => {})
      .on("data", (bytes) => {
        arrived = Buffer.concat([arrived, bytes]);
        if (!answers || arrived.length < 4 + arrived.readInt32BE(0)) return;
        const answer = Buffer.alloc(10);
        answer.writeInt32BE(6, 0);
        answer.writeInt32BE(arrived.readInt32BE(8), 4);
        socket.write(answer);
      }),
  ).listen(0, "127.0.0.1");
  await once(broker, "listening");
  ends.push(async () => broker.close());
  const { port } = broker.address() as AddressInfo;
  const times = { requestTimeout: answers ? 10_000 : 200, connectionTimeout: 10_000 };
  const connection = new KafkajsConnection({ host: "127.0.0.1", port, logger: quiet, socketFactory, ...times });
  ends.push(() => connection.disconnect());
  await connection.connect();
  const concat = vi.spyOn(Buffer, "concat");
  const encode = async (): Promise<Encoder> => new Encoder().writeBuffer(Buffer.alloc(LARGE, 7)).writeBuffer(Buffer.from("behind it"));
  const response = { decode: async (): Promise<object> => ({ clientSideThrottleTime: 0 }), parse: async (): Promise<string> => "answered" };
  const request = { apiKey: 0, apiName: "Produce", apiVersion: 3, encode };
  const outcome = await connection.send({ request, response }).catch(() => "not answered");
  const made = concat.mock.results.map(({ value }) => value as Buffer);
  // The broker's own pieces were put together from `arrived`.
  return { outcome, arrived, whole: made.find((bytes) => bytes.length === 0 || (bytes !== arrived && bytes.length > LARGE)) };
}

test("what was sent is given back when the broker has answered, and not before it has all of it", async () => {
  const { outcome, arrived, whole } = await sendLarge(true);
  expect(outcome).toBe("answered");
  expect(arrived.subarray(-LARGE - 9).equals(Buffer.concat([Buffer.alloc(LARGE, 7), Buffer.from("behind it")]))).toBe(true);
  expect(whole?.length).toBe(0);
});

test("what was not answered stays: the socket may still hold a part of it", async () => {
  const { outcome, whole } = await sendLarge(false);
  expect(outcome).toBe("not answered");
  expect(whole?.length).toBeGreaterThan(LARGE);
});

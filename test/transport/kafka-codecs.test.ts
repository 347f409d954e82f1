import { createRequire } from "node:module";
import { test as property, fc } from "@fast-check/vitest";
import kafkajs from "kafkajs";
import { beforeAll, describe, expect, test } from "vitest";
import { registerCodecs } from "../../src/transport/kafka/codecs.ts";
import { decodeRecord, type ReceivedMessage } from "../../src/transport/kafka/record.ts";

// kafkajs' own reader of records, which the stand-ins have to please.
const load = createRequire(import.meta.url);
const Decoder = load("kafkajs/src/protocol/decoder.js") as new (bytes: Buffer) => { readVarIntBytes(): Buffer };
const decodeKafkaRecord = load("kafkajs/src/protocol/recordBatch/record/v0/decoder.js") as (
  decoder: object,
  batch: { firstOffset: string; firstTimestamp: string },
) => ReceivedMessage & { offset: string; key: Buffer | null };

interface Codec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>;
  decompress(buffer: Buffer): Promise<Buffer>;
}

const { CompressionCodecs, CompressionTypes } = kafkajs;
const codecs = [
  ["gzip", CompressionTypes.GZIP],
  ["snappy", CompressionTypes.Snappy],
  ["lz4", CompressionTypes.LZ4],
  ["zstd", CompressionTypes.ZSTD],
] as const;
const codecOf = (type: (typeof codecs)[number][1]) => CompressionCodecs[type]() as Codec;
beforeAll(registerCodecs);

describe.each(codecs)("%s", (_, type) => {
  property.prop([fc.uint8Array({ maxLength: 2_000 }), fc.nat({ max: 200 })])("what is compressed comes back", async (bytes, times) => {
    const buffer = Buffer.concat(Array.from({ length: times }, () => bytes));
    expect((await codecOf(type).decompress(await codecOf(type).compress({ buffer }))).equals(buffer)).toBe(true);
  });

  property.prop([fc.uint8Array({ maxLength: 500 })])("junk is refused, nothing worse", async (bytes) => {
    await Promise.resolve()
      .then(() => codecOf(type).decompress(Buffer.from(bytes)))
      .catch((error: unknown) => expect(error).toBeDefined());
  });
});

test("snappy: a stream of blocks, as Java writes it, is read", async () => {
  const codec = codecOf(CompressionTypes.Snappy);
  const header = Buffer.from("82534e41505059000000000100000001", "hex");
  const blocks = await Promise.all(["one ", "two ", "three"].map((text) => codec.compress({ buffer: Buffer.from(text) })));
  const framed = blocks.flatMap((block) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(block.length);
    return [length, block];
  });
  expect((await codec.decompress(Buffer.concat([header, ...framed]))).toString()).toBe("one two three");
});

// Read as a number with a sign, such a length leads back to where the reader has been.
test.each(["0afcffffffff41", "0afcf0ffffff414141414141", "05fc000000804141414141"])(
  "snappy: a literal of 2^31 bytes and more is refused: %s",
  async (hex) => {
    await expect(codecOf(CompressionTypes.Snappy).decompress(Buffer.from(hex, "hex"))).rejects.toThrow("missing eof marker");
  },
);

property.prop(
  [fc.uint8Array({ minLength: 1, maxLength: 400 }), fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 6 })],
  {
    numRuns: 1_000,
  },
)("snappy: a block that was tampered with is refused, or as long as it says", async (bytes, changes) => {
  const codec = codecOf(CompressionTypes.Snappy);
  const block = await codec.compress({ buffer: Buffer.concat([bytes, bytes]) });
  // Its length, in the first two bytes, stays: what claims to be large is another test's.
  for (const [at, value] of changes) if (block.length > 2) block[2 + (at % (block.length - 2))] = value;
  await codec.decompress(block).then(
    (inflated) => expect(inflated.length).toBe(2 * bytes.length),
    (error: unknown) => expect(error).toBeInstanceOf(Error),
  );
});

describe("a batch that inflates too far", () => {
  const zeros = Buffer.alloc(65 * 1024 * 1024);
  // 2^32 - 1 as the varint in front: a block that claims to be enormous is not unpacked.
  const bombs = [
    ...codecs.map(([name, type]) => [name, type, () => codecOf(type).compress({ buffer: zeros })] as const),
    ["snappy's claim", CompressionTypes.Snappy, () => Promise.resolve(Buffer.from("ffffffff0f00", "hex"))] as const,
  ];

  test.each(bombs)("%s: reads as empty records, each with its place and why", async (_, type, bomb) => {
    const decoder = new Decoder(await codecOf(type).decompress(await bomb()));
    const records = [0, 1, 2].map(() =>
      decodeKafkaRecord(new Decoder(decoder.readVarIntBytes()), { firstOffset: "40", firstTimestamp: "7" }),
    );
    expect(records.map(({ offset, timestamp, key, value }) => ({ offset, timestamp, key, value }))).toEqual(
      ["40", "41", "42"].map((offset) => ({ offset, timestamp: "7", key: null, value: null })),
    );
    expect(() => decodeRecord(records[2] ?? expect.fail("none"), { signal: "traces", tenant: "default" })).toThrow(
      "its batch inflates too far",
    );
  });

  test("there are enough of them for the largest batch that kafkajs reads", async () => {
    const decoder = new Decoder(
      await codecOf(CompressionTypes.GZIP).decompress(await codecOf(CompressionTypes.GZIP).compress({ buffer: zeros })),
    );
    let last = "";
    for (let count = 0; count < 100_000; count++) {
      last = decodeKafkaRecord(new Decoder(decoder.readVarIntBytes()), { firstOffset: "0", firstTimestamp: "0" }).offset;
    }
    expect(last).toBe("99999");
  });
});

import { test as property, fc } from "@fast-check/vitest";
import kafkajs from "kafkajs";
import { beforeAll, describe, expect, test } from "vitest";
import { registerCodecs } from "../../src/transport/kafka/codecs.ts";

interface Codec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>;
  decompress(buffer: Buffer): Promise<Buffer>;
}

const { CompressionCodecs, CompressionTypes } = kafkajs;
const codecs = [
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

test("snappy: a block that claims to be enormous is not unpacked", async () => {
  // 2^32 - 1 as the varint in front.
  const bomb = Buffer.from("ffffffff0f00", "hex");
  await expect(codecOf(CompressionTypes.Snappy).decompress(bomb)).rejects.toThrow("a snappy batch of 4294967295 bytes");
});

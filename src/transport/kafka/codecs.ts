import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import kafkajs from "kafkajs";
import { compress as snappyCompress, uncompress as snappyUncompress } from "snappyjs";
import { compressLz4, decompressLz4 } from "./lz4-frame.ts";

/** kafkajs' interface of a codec; it brings gzip only, the others are registered process-wide. */
interface Codec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>;
  decompress(buffer: Buffer): Promise<Buffer>;
}

/** A batch of records is at most a few MiB compressed; one that inflates to more than this is a bomb. */
const MAX_INFLATED_BYTES = 256 * 1024 * 1024;

/** Java's snappy streams: this header, then blocks with their length before them. Other clients write one bare block. */
const SNAPPY_STREAM_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const SNAPPY_STREAM_HEADER_BYTES = 16;

const zstd: Codec = {
  // Told the size, it sets up tables of that size and not for megabytes: half the time of a small record.
  compress: ({ buffer }) => promisify(zstdCompress)(buffer, { pledgedSrcSize: buffer.length }),
  decompress: (buffer) => promisify(zstdDecompress)(buffer, { maxOutputLength: MAX_INFLATED_BYTES }),
};

const snappy: Codec = {
  compress: ({ buffer }) => Promise.resolve(snappyCompress(buffer)),
  // oxlint-disable-next-line typescript/require-await -- what it throws becomes the rejection that kafkajs expects
  decompress: async (buffer) => {
    const blocks = [...snappyBlocks(buffer)];
    const total = blocks.reduce((sum, block) => sum + snappyLength(block), 0);
    if (total > MAX_INFLATED_BYTES) throw new Error(`a snappy batch of ${total} bytes`);
    return Buffer.concat(blocks.map((block) => snappyUncompress(block)));
  },
};

const lz4: Codec = {
  compress: ({ buffer }) => Promise.resolve(compressLz4(buffer)),
  // oxlint-disable-next-line typescript/require-await -- as above
  decompress: async (buffer) => decompressLz4(buffer, MAX_INFLATED_BYTES),
};

/** Makes kafkajs read and write every codec that Kafka knows. A consumer without one of them stops at the first batch that uses it. */
export function registerCodecs(): void {
  const { CompressionCodecs, CompressionTypes } = kafkajs;
  CompressionCodecs[CompressionTypes.ZSTD] = () => zstd;
  CompressionCodecs[CompressionTypes.Snappy] = () => snappy;
  CompressionCodecs[CompressionTypes.LZ4] = () => lz4;
}

function* snappyBlocks(buffer: Buffer): Generator<Buffer> {
  if (!buffer.subarray(0, SNAPPY_STREAM_MAGIC.length).equals(SNAPPY_STREAM_MAGIC)) {
    yield buffer;
    return;
  }
  for (let at = SNAPPY_STREAM_HEADER_BYTES; at < buffer.length;) {
    const length = buffer.readUInt32BE(at);
    yield buffer.subarray(at + 4, at + 4 + length);
    at += 4 + length;
  }
}

/** The varint in front of a block: its length inflated. */
function snappyLength(block: Buffer): number {
  let length = 0;
  for (let index = 0, shift = 1; index < 5; index++, shift *= 128) {
    const byte = block[index] ?? 0;
    length += (byte & 0x7f) * shift;
    if (byte < 0x80) break;
  }
  return length;
}

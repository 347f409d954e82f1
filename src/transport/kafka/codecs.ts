import { promisify } from "node:util";
import { gunzip, gzip, zstdCompress, zstdDecompress } from "node:zlib";
import { snappyCompress, snappyUncompress } from "hysnappy";
import kafkajs from "kafkajs";
import { compressLz4, decompressLz4, InflatesTooFar } from "./lz4-frame.ts";
import { standInRecords } from "./stand-in.ts";

/** kafkajs' interface of a codec; it brings gzip only, without a bound. Ours are registered process-wide. */
interface Codec {
  compress(encoder: { buffer: Buffer }): Promise<Buffer>;
  decompress(buffer: Buffer): Promise<Buffer>;
}

/**
 * A batch is a few MiB at most, and a fetch brings several; one that inflates to more than the largest request that the receiver takes unless told otherwise is a bomb,
 * or a foreign producer's that has to send smaller batches.
 */
const MAX_INFLATED_BYTES = 64 * 1024 * 1024;

/** Java's snappy streams: this header, then blocks with their length before them. Other clients write one bare block. */
const SNAPPY_STREAM_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const SNAPPY_STREAM_HEADER_BYTES = 16;

const gzipped: Codec = {
  compress: ({ buffer }) => promisify(gzip)(buffer),
  decompress: (buffer) => promisify(gunzip)(buffer, { maxOutputLength: MAX_INFLATED_BYTES }),
};

const zstd: Codec = {
  // Told the size, it sets up tables of that size and not for megabytes: half the time of a small record.
  compress: ({ buffer }) => promisify(zstdCompress)(buffer, { pledgedSrcSize: buffer.length }),
  decompress: (buffer) => promisify(zstdDecompress)(buffer, { maxOutputLength: MAX_INFLATED_BYTES }),
};

const snappy: Codec = {
  compress: ({ buffer }) => Promise.resolve(Buffer.from(snappyCompress(buffer))),
  // oxlint-disable-next-line typescript/require-await -- what it throws becomes the rejection that kafkajs expects
  decompress: async (buffer) => {
    const blocks = [...snappyBlocks(buffer)];
    const total = blocks.reduce((sum, block) => sum + snappyLength(block), 0);
    if (total > MAX_INFLATED_BYTES) throw new InflatesTooFar(`a snappy batch of ${total} bytes`);
    return Buffer.concat(blocks.map((block) => snappyUncompress(block, snappyLength(block))));
  },
};

const lz4: Codec = {
  compress: ({ buffer }) => Promise.resolve(compressLz4(buffer)),
  // oxlint-disable-next-line typescript/require-await -- as above
  decompress: async (buffer) => decompressLz4(buffer, MAX_INFLATED_BYTES),
};

/**
 * Makes kafkajs read and write every codec that Kafka knows. A consumer without one of them stops at the first batch that uses it. A batch that inflates too far reads as
 * records without a body, which go to the dead letters one by one; the batch stays in its topic.
 */
export function registerCodecs(): void {
  const { CompressionCodecs, CompressionTypes } = kafkajs;
  CompressionCodecs[CompressionTypes.GZIP] = () => bounded(gzipped);
  CompressionCodecs[CompressionTypes.ZSTD] = () => bounded(zstd);
  CompressionCodecs[CompressionTypes.Snappy] = () => bounded(snappy);
  CompressionCodecs[CompressionTypes.LZ4] = () => bounded(lz4);
}

function bounded(codec: Codec): Codec {
  return {
    compress: (encoder) => codec.compress(encoder),
    decompress: (buffer) =>
      codec.decompress(buffer).catch((error: unknown) => {
        if (error instanceof InflatesTooFar || (error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") return standInRecords();
        throw error;
      }),
  };
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

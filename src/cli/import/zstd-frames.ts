import { pipeline } from "node:stream/promises";
import { createZstdDecompress } from "node:zlib";
import { type ByteReader, createByteReader } from "./byte-reader.ts";

const MAGIC = 0xfd2fb528;
/** Bytes of a frame's content size, by the two flags for it. */
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
const RLE_BLOCK = 1;

/** Whether the bytes begin a zstd frame (RFC 8878). */
export function isZstd(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && Buffer.from(bytes.subarray(0, 4)).readUInt32LE(0) === MAGIC;
}

/**
 * Decompresses a file of any number of zstd frames, which is what joined files and parallel compressors make. Node's own stream ends after the first frame without a word, so each gets one
 * of its own; where a frame ends is told by its block headers. @throws Error for bytes that are no frame, or cut off
 */
export async function* inflateZstd(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = createByteReader(chunks);
  try {
    for (let head = await reader.peek(4); head.length > 0; head = await reader.peek(4)) {
      if (isSkippable(head)) await skipFrame(reader);
      else if (isZstd(head)) yield* inflateFrame(reader);
      else throw new Error("bytes follow that are no zstd frame");
    }
  } finally {
    await reader.close();
  }
}

async function* inflateFrame(reader: ByteReader): AsyncGenerator<Uint8Array> {
  const decompress = createZstdDecompress();
  const done = pipeline(frameBytes(reader), decompress);
  // The loop below throws the same error; without a handler of its own the promise would count as unhandled.
  done.catch(() => undefined);
  for await (const chunk of decompress) yield chunk as Uint8Array;
  await done;
}

/** The bytes of one frame: header, blocks, checksum. */
async function* frameBytes(reader: ByteReader): AsyncGenerator<Uint8Array> {
  const descriptor = (await exactly(reader, 5, "peek"))[4] ?? 0;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 && isSingleSegment ? 1 : (CONTENT_SIZE_BYTES[sizeFlag] ?? 0);
  yield await exactly(reader, 5 + (isSingleSegment ? 0 : 1) + (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0) + sizeBytes);
  for (let isLast = false; !isLast;) {
    const header = await exactly(reader, 3);
    const bits = Buffer.from(header).readUIntLE(0, 3);
    isLast = (bits & 1) === 1;
    yield header;
    yield await exactly(reader, ((bits >> 1) & 3) === RLE_BLOCK ? 1 : bits >> 3);
  }
  if ((descriptor & 0x04) !== 0) yield await exactly(reader, 4);
}

function isSkippable(head: Uint8Array): boolean {
  return head.length === 4 && (head[0] ?? 0) >> 4 === 5 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18;
}

async function skipFrame(reader: ByteReader): Promise<void> {
  const size = Buffer.from(await exactly(reader, 8)).readUInt32LE(4);
  if ((await reader.skip(size)) < size) throw cutOff();
}

async function exactly(reader: ByteReader, length: number, how: "take" | "peek" = "take"): Promise<Uint8Array> {
  const bytes = await reader[how](length);
  if (bytes.length < length) throw cutOff();
  return bytes;
}

function cutOff(): Error {
  return new Error("the file ends in the middle of a zstd frame");
}

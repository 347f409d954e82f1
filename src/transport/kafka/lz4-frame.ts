import { compress as compressBlock, decompress as decompressBlock } from "lz4-wasm-nodejs";

/** Version 1, independent blocks of at most 64 KiB, no checksums: what Kafka's own clients write. The last byte is the header's own checksum. */
const HEADER = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
const MAGIC = 0x18_4d_22_04;
const BLOCK_BYTES = 64 * 1024;

const FLAG = { independent: 0x20, blockChecksum: 0x10, contentSize: 0x08, contentChecksum: 0x04, dictionary: 0x01 } as const;
const STORED_BLOCK = 0x80_00_00_00;
/** lz4-wasm's blocks carry their size inflated in front. */
const SIZE_BYTES = 4;

/** Bytes that are more once inflated than anybody should hold. */
export class InflatesTooFar extends Error {}

/** One LZ4 frame, as Kafka's brokers accept it: they refuse blocks that depend on each other. */
export function compressLz4(bytes: Uint8Array): Buffer {
  const parts: Uint8Array[] = [HEADER];
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const raw = bytes.subarray(at, at + BLOCK_BYTES);
    const block = compressBlock(raw).subarray(SIZE_BYTES);
    if (block.length < raw.length) parts.push(uint32(block.length), block);
    else parts.push(uint32((STORED_BLOCK | raw.length) >>> 0), raw);
  }
  parts.push(uint32(0));
  return Buffer.concat(parts);
}

/**
 * Inflates one LZ4 frame of independent blocks. Checksums are passed over: Kafka has its own.
 * @throws InflatesTooFar beyond `maxBytes`, Error for what is no such frame or is cut off
 */
export function decompressLz4(frame: Buffer, maxBytes: number): Buffer {
  if (frame.length < HEADER.length || frame.readUInt32LE(0) !== MAGIC) throw new Error("not an LZ4 frame");
  const flags = frame[4] ?? 0;
  if ((flags & FLAG.dictionary) !== 0) throw new Error("an LZ4 frame that needs a dictionary");
  let at = HEADER.length + ((flags & FLAG.contentSize) === 0 ? 0 : 8);
  const parts: Uint8Array[] = [];
  let total = 0;
  for (;;) {
    const word = frame.readUInt32LE(at);
    if (word === 0) return Buffer.concat(parts);
    if (parts.length > 0 && (flags & FLAG.independent) === 0) throw new Error("an LZ4 frame whose blocks depend on each other");
    const length = word & ~STORED_BLOCK;
    const block = frame.subarray(at + 4, at + 4 + length);
    if (block.length < length) throw new Error("an LZ4 frame that is cut off");
    const isStored = word >= STORED_BLOCK;
    total += isStored ? length : inflatedLength(block);
    if (total > maxBytes) throw new InflatesTooFar(`an LZ4 frame of more than ${maxBytes} bytes`);
    parts.push(isStored ? block : inflateBlock(block));
    at += 4 + length + ((flags & FLAG.blockChecksum) === 0 ? 0 : 4);
  }
}

function inflateBlock(block: Uint8Array): Uint8Array {
  try {
    return decompressBlock(Buffer.concat([uint32(inflatedLength(block)), block]));
  } catch (cause) {
    // It throws strings.
    throw new Error(`an LZ4 block that cannot be inflated: ${String(cause)}`, { cause });
  }
}

/** Adds up a block's sequences: literals, then a match of at least four bytes, which the last sequence lacks. */
function inflatedLength(block: Uint8Array): number {
  let at = 0;
  let length = 0;
  const run = (nibble: number): number => {
    let sum = nibble;
    if (nibble === 15) for (let byte = 255; byte === 255; sum += byte) byte = block[at++] ?? 0;
    return sum;
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = run(token >> 4);
    length += literals;
    at += literals;
    if (at >= block.length) break;
    at += 2;
    length += 4 + run(token & 15);
  }
  return length;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

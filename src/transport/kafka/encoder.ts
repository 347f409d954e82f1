import { createRequire } from "node:module";

/** kafkajs': each call writes behind what is there. */
export interface Encoder {
  /** What is open for writing, behind all `pieces`. */
  buf: Buffer;
  /** Bytes written to `buf`; no more than these ever leave the encoder. */
  offset: number;
  /** What lies before `buf`; absent where nothing large was written. */
  pieces?: Buffer[];
  readonly buffer: Buffer;
  size: (this: Encoder) => number;
  ensureAvailable: (this: Encoder, length: number) => void;
  writeInt8(value: number): Encoder;
  writeInt16(value: number): Encoder;
  writeInt32(value: number): Encoder;
  writeUInt32(value: number): Encoder;
  /** A number, or kafkajs' own Long. */
  writeInt64(value: unknown): Encoder;
  writeArray(values: readonly Encoder[], type: "object"): Encoder;
  writeBufferInternal: (this: Encoder, bytes: Buffer) => void;
  writeBytes: (this: Encoder, value: Buffer | string | null | undefined) => Encoder;
  writeEncoder: (this: Encoder, other: Encoder) => Encoder;
  writeEncoderArray: (this: Encoder, others: readonly Encoder[]) => Encoder;
}

/** From this size on, bytes are referred to in place of copied. */
const LARGE_BYTES = 16 * 1024;

/**
 * Has kafkajs 2.2.4 pass large bytes on without copying them: a request goes through seven encoders on its way to the socket, each of which copied the one before into a buffer
 * that it had grown and filled with zeros. With batches of LLM spans that was a sixth of the main thread's time and most of the process's memory. Pieces are put together where
 * somebody asks for the bytes: for the checksum, for the batch, for the socket. What was written must not change before that.
 */
export function mendEncoder(): void {
  const { prototype } = createRequire(import.meta.url)("kafkajs/src/protocol/encoder.js") as { prototype: Encoder };
  Object.defineProperty(prototype, "buffer", { get: wholeOf, configurable: true });
  prototype.size = function size(this: Encoder): number {
    return (this.pieces ?? []).reduce((sum, { length }) => sum + length, this.offset);
  };
  prototype.ensureAvailable = function ensureAvailable(this: Encoder, length: number): void {
    const needed = this.offset + length;
    if (needed <= this.buf.length) return;
    const grown = Buffer.allocUnsafe(2 * needed);
    this.buf.copy(grown, 0, 0, this.offset);
    this.buf = grown;
  };
  prototype.writeBufferInternal = function writeOrRefer(this: Encoder, bytes: Buffer): void {
    if (bytes.length >= LARGE_BYTES) return refer(this, [bytes]);
    this.ensureAvailable(bytes.length);
    bytes.copy(this.buf, this.offset);
    this.offset += bytes.length;
  };
  prototype.writeBytes = function writeBytes(this: Encoder, value: Buffer | string | null | undefined): Encoder {
    if (value === null || value === undefined) return this.writeInt32(-1);
    const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value);
    this.writeInt32(bytes.length).writeBufferInternal(bytes);
    return this;
  };
  prototype.writeEncoder = function writeEncoder(this: Encoder, other: Encoder): Encoder {
    if (other.pieces !== undefined) refer(this, other.pieces);
    this.writeBufferInternal(other.buf.subarray(0, other.offset));
    return this;
  };
  prototype.writeEncoderArray = function writeEncoderArray(this: Encoder, others: readonly Encoder[]): Encoder {
    for (const other of others) this.writeEncoder(other);
    return this;
  };
}

function refer(encoder: Encoder, bytes: readonly Buffer[]): void {
  const { buf, offset } = encoder;
  (encoder.pieces ??= []).push(buf.subarray(0, offset), ...bytes);
  encoder.buf = buf.subarray(offset);
  encoder.offset = 0;
}

/** What was written, as it lies there. */
export function piecesOf({ pieces = [], buf, offset }: Encoder): readonly Buffer[] {
  return [...pieces, buf.subarray(0, offset)];
}

let watch: { asked: Buffer | null } | null = null;

/** Does `work`, and returns the bytes of the encoder that it asked for them last; null where it asked none. */
export function bytesAskedFor(work: () => void): Buffer | null {
  const mine: { asked: Buffer | null } = { asked: null };
  watch = mine;
  try {
    work();
  } finally {
    watch = null;
  }
  return mine.asked;
}

/** The getter of `buffer`: once asked for, the bytes stay in one piece. */
function wholeOf(this: Encoder): Buffer {
  if (this.pieces !== undefined) {
    this.buf = Buffer.concat(piecesOf(this));
    this.offset = this.buf.length;
    delete this.pieces;
  }
  const whole = this.buf.subarray(0, this.offset);
  if (watch !== null) watch.asked = whole;
  return whole;
}

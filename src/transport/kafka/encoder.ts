import { createRequire } from "node:module";

interface Encoder {
  buf: Buffer;
  /** Bytes written; no more than these ever leave the encoder. */
  offset: number;
  ensureAvailable: (this: Encoder, length: number) => void;
}

/** Above this, twice the room is megabytes that nothing is written to. */
const DOUBLED_BYTES = 64 * 1024;

/**
 * Has kafkajs 2.2.4 grow its request buffers to what is needed, without filling them with zeros first: a request passes through seven of them on its way to the socket, and
 * with batches of LLM spans that was a sixth of the main thread's time.
 */
export function mendEncoder(): void {
  const { prototype } = createRequire(import.meta.url)("kafkajs/src/protocol/encoder.js") as { prototype: Encoder };
  prototype.ensureAvailable = function ensureAvailable(this: Encoder, length: number): void {
    const needed = this.offset + length;
    if (needed <= this.buf.length) return;
    const grown = Buffer.allocUnsafe(needed > DOUBLED_BYTES ? needed + (needed >> 3) : 2 * needed);
    this.buf.copy(grown, 0, 0, this.offset);
    this.buf = grown;
  };
}

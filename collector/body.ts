import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { createGunzip, createZstdDecompress, gunzip } from "node:zlib";
import { nightshiftError } from "../src/errors.ts";
import { saidSize } from "../src/trace/gzip-size.ts";
import { Refusal, unavailable } from "./reply.ts";

export type Encoding = "identity" | "gzip" | "zstd";

/** A request's body on its way in, whichever protocol carries it. */
export interface Incoming {
  /** As they come off the wire; leaving the loop early must leave the connection able to carry an answer. */
  chunks: AsyncIterable<Uint8Array>;
  encoding: Encoding;
  /** What the sender says it will be on the wire; 0 when it does not say. */
  declaredBytes: number;
}

export interface Body {
  /** As it came. */
  wire: Uint8Array;
  encoding: Encoding;
  /** Decompressed; the same array as `wire` when nothing was compressed. */
  bytes: Uint8Array;
}

/** Bytes of request bodies held at once, over all requests. Requests differ a thousandfold in size, so counting requests would bound nothing. */
export interface Budget {
  /** @throws Refusal 503 when the bytes do not fit. */
  take(bytes: number): void;
  release(bytes: number): void;
  readonly held: number;
}

/** A budget of `maxBytes`. */
export function createBudget(maxBytes: number): Budget {
  let held = 0;
  return {
    take(bytes) {
      if (held + bytes > maxBytes) throw unavailable("too many bytes in flight", 1_000);
      held += bytes;
    },
    release(bytes) {
      held -= bytes;
    },
    get held() {
      return held;
    },
  };
}

/** `maxBytes` holds for the compressed and for the decompressed size; a bomb is stopped at the first byte over it. */
export interface Limits {
  maxBytes: number;
  budget: Budget;
}

/** What a request holds of the budget, so that the caller can give it back however the request ends. */
export interface Lease {
  bytes: number;
}

/** Reads a body as it comes. `isCopy`: the memory is the caller's own, and not the connection's. @throws Refusal 413 or 503 */
export async function readWire(
  { chunks, declaredBytes }: Incoming,
  limits: Limits,
  lease: Lease,
): Promise<{ wire: Uint8Array; isCopy: boolean }> {
  if (declaredBytes > limits.maxBytes) throw tooLarge(limits.maxBytes);
  const collector = collectInto(limits, lease);
  for await (const chunk of chunks) collector.add(chunk);
  const { bytes, isCopy } = collector.finish();
  return { wire: bytes, isCopy };
}

/** Decompresses a body. @throws Refusal 413, 400 or 503 */
export async function openBody(wire: Uint8Array, encoding: Encoding, limits: Limits, lease: Lease): Promise<Body> {
  return { wire, encoding, bytes: encoding === "identity" ? wire : await inflate(wire, encoding, limits, lease) };
}

/** Inflated bytes per piece: each costs a turn of the event loop. */
const CHUNK_BYTES = 256 * 1024;

async function inflate(wire: Uint8Array, encoding: "gzip" | "zstd", limits: Limits, lease: Lease): Promise<Uint8Array> {
  // An empty compressed body is an empty request to some exporters, a truncated stream to zlib.
  if (wire.length === 0) return wire;
  const atOnce = encoding === "gzip" ? await inflateAtOnce(wire, limits, lease) : null;
  if (atOnce !== null) return atOnce;
  const collector = collectInto(limits, lease);
  const stream = encoding === "gzip" ? createGunzip({ chunkSize: CHUNK_BYTES }) : createZstdDecompress({ chunkSize: CHUNK_BYTES });
  try {
    await pipeline([wire], stream, async (source: AsyncIterable<Uint8Array>) => {
      for await (const chunk of source) collector.add(chunk);
    });
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw new Refusal(400, `the body is not valid ${encoding}`);
  }
  return collector.finish().bytes;
}

const AT_ONCE_BYTES = 8 * 1024 * 1024;

/**
 * gzip says at its end how much it inflates to. Believed, within bounds, it saves the pieces and their copying, which is half of the work; null where it cannot be
 * so, or was not: several members, a sender that lies.
 */
async function inflateAtOnce(wire: Uint8Array, limits: Limits, lease: Lease): Promise<Uint8Array | null> {
  const size = saidSize(wire);
  if (size === null || size > Math.min(AT_ONCE_BYTES, limits.maxBytes)) return null;
  limits.budget.take(size);
  lease.bytes += size;
  const room = Math.max(MIN_CHUNK_BYTES, size + SPARE_BYTES);
  const inflated = await gunzipAtOnce(wire, { chunkSize: room, maxOutputLength: room }).catch(() => null);
  if (inflated !== null && inflated.length === size) return inflated;
  limits.budget.release(size);
  lease.bytes -= size;
  return null;
}

const MIN_CHUNK_BYTES = 64;
/** Behind what was inflated: without a byte more, zlib asks for another piece to be sure of the end. */
export const SPARE_BYTES = 1;
const gunzipAtOnce = promisify(gunzip);

function collectInto(limits: Limits, lease: Lease) {
  const chunks: Uint8Array[] = [];
  let size = 0;
  return {
    add(chunk: Uint8Array): void {
      size += chunk.length;
      if (size > limits.maxBytes) throw tooLarge(limits.maxBytes);
      limits.budget.take(chunk.length);
      lease.bytes += chunk.length;
      chunks.push(chunk);
    },
    finish(): { bytes: Uint8Array; isCopy: boolean } {
      const [first] = chunks;
      return chunks.length === 1 && first !== undefined ? { bytes: first, isCopy: false } : { bytes: Buffer.concat(chunks), isCopy: true };
    },
  };
}

/** The encodings that are understood, as both protocols list them. */
export const ACCEPTED_ENCODINGS = "identity, gzip, zstd";

/** @param header the sender's `content-encoding` or `grpc-encoding`. @throws Refusal 415 */
export function encodingOf(header: string | undefined): Encoding {
  const named = (header ?? "identity").trim().toLowerCase();
  if (named === "identity" || named === "gzip" || named === "zstd") return named;
  throw new Refusal(415, `bodies must be encoded as one of: ${ACCEPTED_ENCODINGS}`, { headers: { "accept-encoding": ACCEPTED_ENCODINGS } });
}

function tooLarge(maxBytes: number): Refusal {
  return new Refusal(413, nightshiftError("body_too_large", { maxBytes }).message);
}

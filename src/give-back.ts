/**
 * Frees the memory of bytes that nobody looks at any more, now. V8 counts what lies outside its heap, but does not know that it is garbage: it looks through the whole heap again and again to find
 * out, which took a tenth of ingest's time, and what it had not found yet was half of a collector's size. Only what the bytes have to themselves is freed, not a pool's or a neighbour's;
 * never what came from a socket, which native code may still be reading: HTTP/2 cuts the chunks of all its streams out of one buffer for each read.
 * @param options `spare`: bytes of the same buffer that are known to be nobody's. By name, so that nothing which calls back with an index can give it.
 */
export function giveBack({ buffer, byteLength }: Uint8Array, { spare = 0 }: { spare?: number } = {}): void {
  if (byteLength >= LEAST_BYTES && buffer.byteLength - byteLength <= spare && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** What is smaller is left to the garbage collector, which is quicker then. */
const LEAST_BYTES = 4_096;

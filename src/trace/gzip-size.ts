/** Deflate makes nothing smaller than this. */
const LARGEST_RATIO = 1_032;
const TRAILER_BYTES = 8;

/**
 * What gzip says at its end that it inflates to; null where that cannot be. Not to be trusted further than for how much room to begin with: several members say only
 * what the last one is, and a sender may lie.
 */
export function saidSize(gzip: Uint8Array): number | null {
  if (gzip.length < TRAILER_BYTES) return null;
  const size = new DataView(gzip.buffer, gzip.byteOffset, gzip.byteLength).getUint32(gzip.length - 4, true);
  return size > gzip.length * LARGEST_RATIO ? null : size;
}

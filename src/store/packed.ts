/** Bytes in one statement. */
const MAX_BYTES = 16 * 1024 * 1024;

export interface Packed<T> {
  rows: T[];
  /** Every row's bytes, one behind the other. */
  bytes: Uint8Array;
  /** Where each row's begin in `bytes`; the first byte is 1, as SQL counts. */
  starts: number[];
  sizes: number[];
}

/**
 * Rows with bytes as a few large parameters: drivers copy their buffer again for each one of many. Taken apart with `substring(bytes from start for size)`. In the rows' order, in
 * pieces that one statement can take.
 */
export function packed<T extends { raw: Uint8Array }>(rows: readonly T[]): Packed<T>[] {
  const pieces: T[][] = [];
  let room = 0;
  for (const row of rows) {
    if (pieces.length === 0 || row.raw.length > room) {
      pieces.push([]);
      room = MAX_BYTES;
    }
    pieces.at(-1)?.push(row);
    room -= row.raw.length;
  }
  return pieces.map(packOne);
}

function packOne<T extends { raw: Uint8Array }>(rows: T[]): Packed<T> {
  const sizes = rows.map(({ raw }) => raw.length);
  const starts: number[] = [];
  let at = 1;
  for (const size of sizes) {
    starts.push(at);
    at += size;
  }
  return { rows, bytes: Buffer.concat(rows.map(({ raw }) => raw)), starts, sizes };
}

/** Takes bytes out of a stream in the pieces that its reader asks for. */
export interface ByteReader {
  /** The next `length` bytes, fewer at the end; they stay. */
  peek(length: number): Promise<Uint8Array>;
  /** The next `length` bytes, fewer at the end. */
  take(length: number): Promise<Uint8Array>;
  /** Passes over `length` bytes without holding them; resolves to how many there were. */
  skip(length: number): Promise<number>;
  /** Whatever lies ready, at least one byte; null at the end. */
  next(): Promise<Uint8Array | null>;
  /** Gives bytes back: they are the next ones. */
  unread(bytes: Uint8Array): void;
  /** Ends the stream, read out or not. */
  close(): Promise<void>;
}

export function createByteReader(chunks: AsyncIterable<Uint8Array>): ByteReader {
  const source = chunks[Symbol.asyncIterator]();
  let held: Uint8Array[] = [];
  let heldBytes = 0;

  async function fill(length: number): Promise<void> {
    while (heldBytes < length) {
      const read = await source.next();
      if (read.done === true) return;
      held.push(read.value);
      heldBytes += read.value.length;
    }
  }

  async function take(length: number): Promise<Uint8Array> {
    await fill(length);
    const all = held.length === 1 && held[0] !== undefined ? held[0] : Buffer.concat(held);
    const taken = all.subarray(0, length);
    const rest = all.subarray(taken.length);
    held = rest.length === 0 ? [] : [rest];
    heldBytes = rest.length;
    return taken;
  }

  function unread(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    held.unshift(bytes);
    heldBytes += bytes.length;
  }

  async function next(): Promise<Uint8Array | null> {
    await fill(1);
    const chunk = held.shift();
    if (chunk === undefined) return null;
    heldBytes -= chunk.length;
    return chunk;
  }

  return {
    take,
    unread,
    next,
    close: async () => void (await source.return?.()),
    async peek(length) {
      const bytes = await take(length);
      unread(bytes);
      return bytes;
    },
    async skip(length) {
      let left = length;
      while (left > 0) {
        const chunk = await next();
        if (chunk === null) break;
        if (chunk.length > left) unread(chunk.subarray(left));
        left -= Math.min(left, chunk.length);
      }
      return length - left;
    },
  };
}

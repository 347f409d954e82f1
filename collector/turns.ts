/**
 * Bounds the bytes that are worked on at once: inflating, redacting and handing over take a body several times over. Who does not fit waits, first come, first served, with no
 * more than the body as it came; working on more at once would be no faster, only larger.
 */
export interface Turns {
  /** Resolves when it is this body's turn, to what ends it. A body larger than all room gets its turn alone. */
  take(bytes: number): Promise<() => void>;
}

export function createTurns(maxBytes: number): Turns {
  let working = 0;
  const waiting: { bytes: number; start: () => void }[] = [];

  function startNext(): void {
    for (let next = waiting[0]; next !== undefined && fits(next.bytes); next = waiting[0]) {
      waiting.shift();
      working += next.bytes;
      next.start();
    }
  }
  const fits = (bytes: number): boolean => working === 0 || working + bytes <= maxBytes;

  return {
    take: (bytes) =>
      new Promise((resolve) => {
        const end = (): void => {
          working -= bytes;
          startNext();
        };
        waiting.push({ bytes, start: () => resolve(end) });
        startNext();
      }),
  };
}

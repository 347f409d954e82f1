import { unavailable } from "./reply.ts";

const RETRY_MS = 1_000;

/**
 * Bounds the bytes that are worked on at once: inflating, redacting and handing over take a body several times over. Who does not fit waits, first come, first served, with no
 * more than the body as it came; working on more at once would be no faster, only larger.
 */
export interface Turns {
  /**
   * Resolves when it is this body's turn, to what ends it. A body larger than all room gets its turn alone.
   * @throws Refusal 503 when others took too long: a sender that waits for an answer would have given up, and its body would be published for nobody
   */
  take(bytes: number): Promise<() => void>;
}

/** SDKs wait ten seconds for an answer, of which the transport may take eight. */
const LONGEST_WAIT_MS = 2_000;

export function createTurns(maxBytes: number, longestWaitMs = LONGEST_WAIT_MS): Turns {
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
      new Promise((resolve, reject) => {
        const end = (): void => {
          working -= bytes;
          startNext();
        };
        const start = (): void => {
          clearTimeout(timer);
          resolve(end);
        };
        const turn = { bytes, start };
        const timer = setTimeout(() => {
          waiting.splice(waiting.indexOf(turn), 1);
          reject(unavailable("too much is being worked on", RETRY_MS));
          // The one behind may be smaller, and fit.
          startNext();
        }, longestWaitMs);
        waiting.push(turn);
        startNext();
      }),
  };
}

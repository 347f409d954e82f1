import type { Logger } from "../log.ts";

/** The parts of a process in the order in which they were started. */
export interface Started {
  /** `end` stops the part and must not mind a part that was started before it. */
  add(part: string, end: () => Promise<void>): void;
  /** Ends all of them in the opposite order; what one does not manage is logged and keeps no other from ending. */
  end(): Promise<void>;
}

export function createStarted({ log }: { log: Logger }): Started {
  const parts: { part: string; end: () => Promise<void> }[] = [];
  return {
    add: (part, end) => void parts.push({ part, end }),
    async end() {
      for (const { part, end } of parts.splice(0).toReversed()) {
        await end().catch((error: unknown) => log.error({ err: error, part }, "part did not stop cleanly"));
      }
    },
  };
}

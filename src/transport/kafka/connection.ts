import type { Logger } from "../../log.ts";

/** Something that connects once and may fail to. */
interface Connectable {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
}

/** A connection that is made when it is first needed, and again after it could not be made. */
export interface Connection {
  /** Resolves when connected; callers at the same time share one attempt. Rejects with what the attempt failed of. */
  ready(): Promise<void>;
  /** Disconnects, for at most `limitMs`. */
  close(limitMs: number): Promise<void>;
}

/** kafkajs' producers and admins mend a connection that breaks, but not one that never came to be. */
export function createConnection(client: Connectable, deps: { name: string; log: Logger }): Connection {
  let attempt: Promise<void> | null = null;
  return {
    ready() {
      attempt ??= client.connect().catch((error: unknown) => {
        attempt = null;
        throw error;
      });
      return attempt;
    },
    async close(limitMs) {
      if (attempt === null) return;
      const disconnected = attempt
        .then(() => client.disconnect())
        .catch((error: unknown) => {
          deps.log.debug({ err: error, part: deps.name }, "kafka disconnect failed");
        });
      await within(disconnected, limitMs);
    },
  };
}

/** Resolves when `work` has settled, or after `limitMs`. */
export async function within(work: Promise<unknown>, limitMs: number): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(over.resolve, limitMs);
  await Promise.race([work.catch(() => {}), over.promise]);
  clearTimeout(timer);
}

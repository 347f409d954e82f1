import type { KafkaMessage } from "kafkajs";
import { NightshiftError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { RecordHandler } from "../transport.ts";
import type { DeadLetters, Source } from "./dead-letter.ts";
import { decodeRecord } from "./record.ts";

/** Hands one record to the handler. `done`: it is stored, or put aside for good. `retry`: neither, now. */
export type Deliver = (message: KafkaMessage, source: Source, signal: AbortSignal) => Promise<"done" | "retry">;

/**
 * Only an error that calls itself final puts a record aside. Whatever else the handler throws is taken for passing: the records behind wait, the lag says so,
 * and nothing is lost.
 */
export function createDeliver(tenant: string, deps: { handler: RecordHandler; deadLetters: DeadLetters; log: Logger }): Deliver {
  return async (message, source, signal) => {
    try {
      await deps.handler(decodeRecord(message, { signal: source.signal, tenant }), { signal });
      return "done";
    } catch (error) {
      const { topic, partition, offset } = source;
      if (!(error instanceof NightshiftError) || error.retryable) {
        deps.log.warn({ err: error, topic, partition, offset }, "record not handled, it will be again");
        return "retry";
      }
      try {
        await deps.deadLetters.put(message, source, error);
        return "done";
      } catch (cause) {
        deps.log.error({ err: cause, code: error.code, topic, partition, offset }, "record could not be put aside");
        return "retry";
      }
    }
  };
}

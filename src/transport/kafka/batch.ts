import type { EachBatchHandler, EachBatchPayload } from "kafkajs";
import type { TransportRecord } from "../transport.ts";
import type { Deliver } from "./delivery.ts";

const HEARTBEAT_MS = 3_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

/**
 * Works through the batches of one consumer. Delivers a partition's records one after the other. A record that has to wait pauses its partition, the consumer goes on with the others and with its
 * heartbeats, and the same record comes again after the pause. Offsets are resolved behind finished records only, so what is committed was handled.
 */
export function createBatchWorker(deps: {
  deliver: Deliver;
  signalOf: (topic: string) => TransportRecord["signal"];
  /** Aborted: take no further record. */
  stopping: AbortSignal;
  /** Aborted: give up the record at hand, too. */
  giveUp: AbortSignal;
}): EachBatchHandler {
  const { deliver, signalOf, stopping, giveUp } = deps;
  const attempts = new Map<string, number>();

  function pauseAfterFailure(payload: EachBatchPayload, lane: string): void {
    const attempt = attempts.get(lane) ?? 0;
    attempts.set(lane, attempt + 1);
    const resume = payload.pause();
    // On a consumer that has ended meanwhile it does nothing.
    setTimeout(resume, Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt)).unref();
  }

  return async (payload) => {
    const { topic, partition, messages } = payload.batch;
    const lane = `${topic}/${partition}`;
    for (const message of messages) {
      if (stopping.aborted || !payload.isRunning() || payload.isStale()) return;
      const source = { topic, partition, offset: message.offset, signal: signalOf(topic) };
      const beat = beatWhile(payload);
      const outcome = await deliver(message, source, giveUp).finally(beat.stop);
      if (outcome === "retry") pauseAfterFailure(payload, lane);
      else {
        attempts.delete(lane);
        payload.resolveOffset(message.offset);
      }
      // The group is being dealt anew, or does not know us any more: kafkajs commits what is resolved and joins again.
      if (beat.failure !== null) throw beat.failure;
      if (outcome === "retry") return;
      await payload.commitOffsetsIfNecessary();
      await payload.heartbeat();
    }
  };
}

/** Heartbeats while a record is being handled, however long that takes. */
function beatWhile(payload: EachBatchPayload): { stop: () => void; failure: Error | null } {
  const beat: { stop: () => void; failure: Error | null } = { stop: () => clearInterval(timer), failure: null };
  const timer = setInterval(() => {
    payload.heartbeat().catch((error: Error) => {
      beat.failure ??= error;
    });
  }, HEARTBEAT_MS);
  return beat;
}

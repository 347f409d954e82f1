import { scanRequest } from "../../trace/scan.ts";
import { splitRequest } from "../../trace/split.ts";
import { concatBytes, type Signal } from "../../trace/wire.ts";
import type { Answer, CollectorClient } from "./collector-client.ts";
import type { Tally } from "./tally.ts";

/** Gathers requests until sending is worth it, and keeps a few on their way. */
export interface Batches {
  /** Resolves when there is room for more. @throws what the client throws */
  add(signal: Signal, bytes: Uint8Array, size: Size, place: Place): Promise<void>;
  /** Sends what has been gathered and waits for everything that is on its way. */
  flush(): Promise<void>;
}

/** What a request holds. */
export interface Size {
  /** Spans or log records. */
  records: number;
  /** What they take once each carries its own resource and scope. */
  storedBytes: number;
}

/** Where a record lies, for what the collector says about the request that it went in. */
export interface Place {
  file: string;
  at: string;
}

/** A record of Kafka's default size: what goes through every transport whole. */
const BATCH_BYTES = 1024 * 1024;
/** Half of what the collector lets one request become. */
const BATCH_STORED_BYTES = 128 * 1024 * 1024;

interface Open {
  pieces: Uint8Array[];
  bytes: number;
  storedBytes: number;
  records: number;
  first: Place | null;
  last: Place | null;
}

/** @param client null for a dry run: requests are counted and go nowhere */
export function createBatches(client: CollectorClient | null, tally: Tally, { concurrency }: { concurrency: number }): Batches {
  const open: Record<Signal, Open> = { traces: empty(), logs: empty() };
  const underWay = new Set<Promise<void>>();
  const failed: { error: unknown }[] = [];

  const throwFailure = (): void => {
    const failure = failed[0];
    if (failure !== undefined) throw failure.error;
  };

  async function sendOne(signal: Signal, bytes: Uint8Array, records: number, places: Pick<Open, "first" | "last">): Promise<void> {
    const answer: Answer = client === null ? { status: "accepted", ...scanRequest(bytes, signal) } : await client.send(signal, bytes);
    tally.answered(signal, { answer, bytes: bytes.length, records, place: placeText(places) });
  }

  async function start(signal: Signal, bytes: Uint8Array, records: number, places: Pick<Open, "first" | "last">): Promise<void> {
    while (underWay.size >= concurrency) await Promise.race(underWay);
    throwFailure();
    const run: Promise<void> = sendOne(signal, bytes, records, places)
      .catch((error: unknown) => void failed.push({ error }))
      .finally(() => underWay.delete(run));
    underWay.add(run);
  }

  async function close(signal: Signal): Promise<void> {
    const { pieces, records, first, last } = open[signal];
    open[signal] = empty();
    if (pieces.length > 0) await start(signal, concatBytes(pieces), records, { first, last });
  }

  return {
    async add(signal, bytes, size, place) {
      if (bytes.length > BATCH_BYTES) {
        for (const part of splitRequest(bytes, signal, BATCH_BYTES)) {
          await start(signal, part.bytes, part.records, { first: place, last: place });
        }
        return;
      }
      const { bytes: held, storedBytes } = open[signal];
      if (held + bytes.length > BATCH_BYTES || storedBytes + size.storedBytes > BATCH_STORED_BYTES) await close(signal);
      const target = open[signal];
      target.pieces.push(bytes);
      target.bytes += bytes.length;
      target.storedBytes += size.storedBytes;
      target.records += size.records;
      target.first ??= place;
      target.last = place;
    },
    async flush() {
      await close("traces");
      await close("logs");
      await Promise.all(underWay);
      throwFailure();
    },
  };
}

function empty(): Open {
  return { pieces: [], bytes: 0, storedBytes: 0, records: 0, first: null, last: null };
}

function placeText({ first, last }: Pick<Open, "first" | "last">): string {
  const text = ({ file, at }: Place) => `${file}:${at}`;
  if (first === null || last === null) return "";
  return text(first) === text(last) ? text(first) : `${text(first)} to ${text(last)}`;
}

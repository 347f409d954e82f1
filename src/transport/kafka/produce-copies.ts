import { createRequire } from "node:module";
import { crc32c } from "@node-rs/crc32";
import { giveBack } from "../../give-back.ts";
import { bytesAskedFor, piecesOf, type Encoder } from "./encoder.ts";

interface Batch {
  compression?: number;
  firstOffset?: unknown;
  firstTimestamp?: unknown;
  maxTimestamp?: unknown;
  partitionLeaderEpoch?: number;
  lastOffsetDelta?: number;
  transactional?: boolean;
  producerId?: unknown;
  producerEpoch?: number;
  firstSequence?: number;
  records?: readonly Encoder[];
}

interface Long {
  fromInt(value: number): unknown;
}

interface RecordBatchModule {
  RecordBatch: (batch: Batch) => Promise<Encoder>;
  MAGIC_BYTE: number;
}

interface Pushed {
  entry: { resolve: (answer: unknown) => void };
  expectResponse: boolean;
  sendRequest: () => void;
}

interface RequestQueue {
  push: (this: RequestQueue, pushed: Pushed) => void;
}

const RECORD_BATCH = "kafkajs/src/protocol/recordBatch/v0/index.js";
const NOT_COMPRESSED = 0;
const TRANSACTIONAL = 16;
const MENDED = Symbol.for("nightshift.kafkajs.produce-copies");

/**
 * Has kafkajs 2.2.4 put a request that it sends together once, and let go of it when the broker has answered. It did so three times, for the checksum, for the batch and for the socket, and left the
 * copies to V8, which lets tens of megabytes of them gather before it looks for garbage: most of a collector's size. What is to be compressed is put together by the codec in any case.
 * Needs `mendEncoder`.
 */
export function mendProduceCopies(): void {
  const load = createRequire(import.meta.url);
  const { prototype: queue } = load("kafkajs/src/network/requestQueue/index.js") as { prototype: RequestQueue & { [MENDED]?: true } };
  if (queue[MENDED]) return;
  queue[MENDED] = true;
  mendRecordBatch(load);
  const { push } = queue;
  queue.push = function pushAndForget(this: RequestQueue, pushed: Pushed): void {
    if (!pushed.expectResponse) return push.call(this, pushed);
    const { entry, sendRequest } = pushed;
    const { resolve } = entry;
    let written: Buffer | null = null;
    // The broker has read all of it when it answers. Of one that is not answered the socket may still hold a part.
    entry.resolve = (answer) => {
      if (written !== null) giveBack(written);
      resolve(answer);
    };
    push.call(this, {
      ...pushed,
      sendRequest: () => {
        written = bytesAskedFor(sendRequest);
      },
    });
  };
}

/** Kafka's record batch, version 2 (documentation, "Record Batch"): the checksum covers what stands behind it. */
function mendRecordBatch(load: NodeJS.Require): void {
  const loaded = load(RECORD_BATCH) as RecordBatchModule;
  const { RecordBatch: putTogether, MAGIC_BYTE } = loaded;
  const Empty = load("kafkajs/src/protocol/encoder.js") as new () => Encoder;
  const long = load("kafkajs/src/utils/long.js") as Long & { fromValue(value: number): unknown };
  loaded.RecordBatch = async (batch) => {
    const { compression = NOT_COMPRESSED, records = [] } = batch;
    if (compression !== NOT_COMPRESSED) return putTogether(batch);
    const now = Date.now();
    const body = new Empty()
      .writeInt16(batch.transactional === true ? TRANSACTIONAL : 0)
      .writeInt32(batch.lastOffsetDelta ?? 0)
      .writeInt64(batch.firstTimestamp ?? now)
      .writeInt64(batch.maxTimestamp ?? now)
      .writeInt64(batch.producerId ?? long.fromValue(-1))
      .writeInt16(batch.producerEpoch ?? 0)
      .writeInt32(batch.firstSequence ?? 0)
      .writeArray(records, "object");
    const checksum = piecesOf(body).reduce((sofar, piece) => crc32c(piece, sofar), 0);
    const whole = new Empty()
      .writeInt32(batch.partitionLeaderEpoch ?? 0)
      .writeInt8(MAGIC_BYTE)
      .writeUInt32(checksum)
      .writeEncoder(body);
    return new Empty()
      .writeInt64(batch.firstOffset ?? long.fromInt(0))
      .writeInt32(whole.size())
      .writeEncoder(whole);
  };
}

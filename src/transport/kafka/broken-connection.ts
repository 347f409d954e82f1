import { createRequire } from "node:module";

interface Connection {
  chunks: Buffer[];
  bytesBuffered: number;
  bytesNeeded: number;
  isConnected(): boolean;
  connect: (this: Connection) => Promise<unknown>;
}

interface RequestQueue {
  inflight: ReadonlyMap<number, unknown>;
  pending: readonly unknown[];
  rejectAll(error: Error): void;
  destroy: (this: RequestQueue) => void;
}

const MENDED = Symbol.for("nightshift.kafkajs.connection");
/** Bytes of the length before every answer. */
const LENGTH_BYTES = 4;

/**
 * Mends three things in kafkajs 2.2.4, the last release, that a connection cut at the wrong moment breaks for good. One object stands for all connections to a broker:
 * - What had come of an answer when the connection broke is kept, and what the next connection brings is read as its rest. From then on no answer finds its
 *   request, or an exception in the socket's handler ends the process.
 * - Two that need a connection at once open two, of which the object knows one; when the other ends, the requests of the first are rejected.
 * - A request that is sent in the moment in which the connection closes is written behind the check for open requests, and the timer that would end it is
 *   cleared: it stays open for ever, and with it a publish or the consumer.
 */
export function mendConnection(): void {
  const load = createRequire(import.meta.url);
  const { prototype: connection } = load("kafkajs/src/network/connection.js") as { prototype: Connection & { [MENDED]?: true } };
  if (connection[MENDED]) return;
  connection[MENDED] = true;
  const { connect } = connection;
  const connecting = new WeakMap<Connection, Promise<unknown>>();
  connection.connect = function connectFromNothing(this: Connection): Promise<unknown> {
    const underWay = connecting.get(this);
    if (underWay !== undefined) return underWay;
    if (!this.isConnected()) Object.assign(this, { chunks: [], bytesBuffered: 0, bytesNeeded: LENGTH_BYTES });
    const attempt = connect.call(this).finally(() => connecting.delete(this));
    connecting.set(this, attempt);
    return attempt;
  };
  const { prototype: queue } = load("kafkajs/src/network/requestQueue/index.js") as { prototype: RequestQueue };
  const { destroy } = queue;
  const { KafkaJSConnectionError } = load("kafkajs/src/errors.js") as { KafkaJSConnectionError: new (message: string) => Error };
  queue.destroy = function destroyWithRequests(this: RequestQueue): void {
    destroy.call(this);
    if (this.inflight.size + this.pending.length > 0) this.rejectAll(new KafkaJSConnectionError("Connection closed"));
  };
}

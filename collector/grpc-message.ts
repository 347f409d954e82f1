import type { Readable } from "node:stream";
import type { Encoding, Incoming } from "./body.ts";
import { Refusal } from "./reply.ts";

/** Before each message: one byte that says whether it is compressed, four with its length, big-endian. */
const PREFIX_BYTES = 5;

/**
 * The one message of a unary call, its prefix taken off; the chunks are read as the caller asks for them.
 * @param encoding of the call's messages that are marked as compressed
 * @throws Refusal 400, also while the chunks are read, when there is not exactly one whole message
 */
export async function readMessage(stream: Readable, encoding: Encoding): Promise<Incoming> {
  const source = stream.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Uint8Array>;
  let head = Buffer.alloc(0);
  while (head.length < PREFIX_BYTES) {
    const { value, done } = await source.next();
    if (done === true) throw new Refusal(400, "the call has no message");
    head = Buffer.concat([head, value]);
  }
  const flag = head.readUInt8(0);
  if (flag > 1) throw new Refusal(400, `the message is marked ${flag}; 0 is plain, 1 compressed`);
  if (flag === 1 && encoding === "identity")
    throw new Refusal(400, "the message is marked as compressed, but the call names no grpc-encoding");
  const length = head.readUInt32BE(1);
  return {
    chunks: chunksOf(head.subarray(PREFIX_BYTES), source, length),
    encoding: flag === 1 ? encoding : "identity",
    declaredBytes: length,
  };
}

async function* chunksOf(start: Uint8Array, source: AsyncIterable<Uint8Array>, length: number): AsyncGenerator<Uint8Array> {
  let read = start.length;
  if (read <= length && read > 0) yield start;
  if (read <= length) {
    for await (const chunk of source) {
      read += chunk.length;
      if (read > length) break;
      yield chunk;
    }
  }
  if (read > length) throw new Refusal(400, "the call has more than one message");
  if (read < length) throw new Refusal(400, `the message ends after ${read} of ${length} bytes`);
}

/** A message as it goes on the wire, not compressed. */
export function writeMessage(message: Uint8Array): Buffer {
  const framed = Buffer.alloc(PREFIX_BYTES + message.length);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, PREFIX_BYTES);
  return framed;
}

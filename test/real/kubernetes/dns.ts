import { createSocket } from "node:dgram";
import { once } from "node:events";

/** RFC 1035 and 3596. */
const TYPE = { a: 1, aaaa: 28 };
const HEADER = 12;
const NO_SUCH_NAME = 3;
/** Response, recursion desired and available. */
const FLAGS = 0x8180;
const TTL_SECONDS = 1;

/**
 * A name server for one question a message, as resolvers ask it: IPv4 addresses by `resolve`, which gets the name in lower case without the last dot. Null: there
 * is no such name; a name without addresses is an empty list.
 */
export async function startDns(host: string, resolve: (name: string) => readonly string[] | null): Promise<{ close(): Promise<void> }> {
  const socket = createSocket("udp4");
  socket.on("message", (query, from) => {
    const answer = answerTo(query, resolve);
    if (answer !== null) socket.send(answer, from.port, from.address, () => {});
  });
  socket.bind(53, host);
  await once(socket, "listening");
  return {
    async close() {
      socket.close();
      await once(socket, "close");
    },
  };
}

function answerTo(query: Buffer, resolve: (name: string) => readonly string[] | null): Buffer | null {
  if (query.length < HEADER + 5 || query.readUInt16BE(4) !== 1) return null;
  const labels: string[] = [];
  let at = HEADER;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length).toLowerCase());
    at += 1 + length;
    if (at >= query.length) return null;
  }
  const question = query.subarray(HEADER, at + 5);
  const addresses = resolve(labels.join("."));
  // A name that has no IPv6 address is still a name: for one that does not exist, resolvers try the next of their search list.
  const records = query.readUInt16BE(at + 1) === TYPE.a ? (addresses ?? []).map(recordOf) : [];
  const header = Buffer.alloc(HEADER);
  header.writeUInt16BE(query.readUInt16BE(0), 0);
  header.writeUInt16BE(FLAGS | (addresses === null ? NO_SUCH_NAME : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return Buffer.concat([header, question, ...records]);
}

/** An address of the question's name, which a pointer stands for. */
function recordOf(address: string): Buffer {
  const record = Buffer.alloc(16);
  record.writeUInt16BE(0xc000 | HEADER, 0);
  record.writeUInt16BE(TYPE.a, 2);
  record.writeUInt16BE(1, 4);
  record.writeUInt32BE(TTL_SECONDS, 6);
  record.writeUInt16BE(4, 10);
  Buffer.from(address.split(".").map(Number)).copy(record, 12);
  return record;
}

/** A parameter as Postgres takes it: text, bytes, or null. */
export type BoundValue = string | Uint8Array | null;

/** Lengths before a message, behind its letter, and before each value. */
const INT32 = 4;
const INT16 = 2;
/** Execute of the unnamed portal to its end, then Sync. */
const EXECUTE_AND_SYNC = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0x53, 0, 0, 0, 4]);

/**
 * The messages Bind, Execute and Sync for one run of a prepared statement, its rows as text. In one piece of the right size: PGlite's writer copies a large value six times on the
 * way, and with spans in it those copies were what the thread's garbage collector was busy with.
 * @param name ASCII
 */
export function bindAndExecute(name: string, values: readonly BoundValue[]): Buffer {
  const sizes = values.map((value) => (value === null ? 0 : Buffer.byteLength(value)));
  // An empty portal name, the statement's with its end, how many formats, formats, how many values, values, how many formats of columns.
  const length = INT32 + 1 + name.length + 1 + 3 * INT16 + values.length * (INT16 + INT32) + sizes.reduce((sum, size) => sum + size, 0);
  const message = Buffer.allocUnsafe(1 + length + EXECUTE_AND_SYNC.length);
  let at = message.writeUInt8(0x42);
  at = message.writeInt32BE(length, at);
  at = message.writeUInt8(0, at);
  at += message.write(name, at, "latin1");
  at = message.writeUInt8(0, at);
  at = message.writeUInt16BE(values.length, at);
  for (const value of values) at = message.writeInt16BE(value instanceof Uint8Array ? 1 : 0, at);
  at = message.writeUInt16BE(values.length, at);
  for (const [index, value] of values.entries()) {
    const size = sizes[index] ?? 0;
    at = message.writeInt32BE(value === null ? -1 : size, at);
    if (typeof value === "string") message.write(value, at, size, "utf8");
    else if (value !== null) message.set(value, at);
    at += size;
  }
  at = message.writeInt16BE(0, at);
  EXECUTE_AND_SYNC.copy(message, at);
  return message;
}

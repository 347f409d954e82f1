import { RECORD_HEADER } from "./record.ts";

/** kafkajs hands a batch's records over in one call with an argument each, which a larger batch overflows anyway. */
const MAX_RECORDS = 100_000;

/**
 * What stands in for the records of a batch that must not be inflated: empty ones at the same offsets, marked. The reader takes as many as the batch has. Without them
 * the consumer would end, and the next one would fetch the same batch: no partition of the process would go on.
 */
export function standInRecords(): Buffer {
  made ??= makeRecords();
  return made;
}

/** Half a second of work, and the same for every such batch. */
let made: Buffer | null = null;

function makeRecords(): Buffer {
  const name = Buffer.from(RECORD_HEADER.notInflated);
  const value = Buffer.from("true");
  // Kafka's record, version 2: attributes, time and offset after the batch's, no key, no value, one header.
  const tail = Buffer.concat([varint(-1), varint(-1), varint(1), varint(name.length), name, varint(value.length), value]);
  return Buffer.concat(
    Array.from({ length: MAX_RECORDS }, (_, offset) => {
      const record = Buffer.concat([Buffer.from([0]), varint(0), varint(offset), tail]);
      return Buffer.concat([varint(record.length), record]);
    }),
  );
}

/** Zigzag, seven bits a byte, lowest first. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}

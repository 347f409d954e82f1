import { createRequire } from "node:module";
import { fc, test } from "@fast-check/vitest";
import { expect } from "vitest";
import { mendEncoder } from "../../src/transport/kafka/encoder.ts";

interface Encoder {
  writeBuffer(bytes: Buffer): Encoder;
  writeInt32(value: number): Encoder;
  buffer: Buffer;
}
const Encoder = createRequire(import.meta.url)("kafkajs/src/protocol/encoder.js") as new () => Encoder;

test.prop([fc.array(fc.tuple(fc.integer({ min: 0, max: 200_000 }), fc.nat(255)), { maxLength: 6 })])(
  "an encoder has what was written to it, in order and nothing else, however it grew",
  (writes) => {
    mendEncoder();
    const encoder = new Encoder();
    for (const [length, value] of writes) encoder.writeBuffer(Buffer.alloc(length, value)).writeInt32(length);
    const expected = writes.flatMap(([length, value]) => {
      const number = Buffer.alloc(4);
      number.writeInt32BE(length);
      return [Buffer.alloc(length, value), number];
    });
    expect(encoder.buffer.equals(Buffer.concat(expected))).toBe(true);
  },
);

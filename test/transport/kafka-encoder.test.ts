import { createRequire } from "node:module";
import { fc, test } from "@fast-check/vitest";
import { expect } from "vitest";
import { mendEncoder } from "../../src/transport/kafka/encoder.ts";

interface Encoder {
  writeBuffer(bytes: Buffer): Encoder;
  writeInt32(value: number): Encoder;
  writeBytes(bytes: Buffer | string | null): Encoder;
  writeEncoder(other: Encoder): Encoder;
  writeArray(others: readonly Encoder[], type: "object"): Encoder;
  size(): number;
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

test.prop([
  fc.array(fc.tuple(fc.constantFrom("encoder", "array", "bytes", "text"), fc.integer({ min: 0, max: 60_000 })), { maxLength: 8 }),
])("an encoder in an encoder is what it had when it was written, asked for its bytes before or not", (layers) => {
  mendEncoder();
  const length = (size: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(size);
    return bytes;
  };
  let encoder = new Encoder().writeInt32(1);
  let expected = length(1);
  for (const [kind, size] of layers) {
    const body = Buffer.alloc(size, size);
    const inner = encoder.writeBuffer(body);
    const before = Buffer.concat([expected, body]);
    expect(inner.size()).toBe(before.length);
    encoder = new Encoder().writeInt32(size);
    if (kind === "encoder") encoder.writeEncoder(inner);
    else if (kind === "array") encoder.writeArray([inner], "object");
    else if (kind === "bytes") encoder.writeBytes(inner.buffer);
    else encoder.writeEncoder(inner).writeBytes("ü").writeBytes(null);
    const around = { encoder: [], array: [length(1)], bytes: [length(before.length)], text: [] }[kind];
    const behind = kind === "text" ? [length(2), Buffer.from("ü"), length(-1)] : [];
    expected = Buffer.concat([length(size), ...around, before, ...behind]);
    // What the inner one goes on with is its own.
    inner.writeInt32(7);
  }
  expect(encoder.buffer.equals(expected)).toBe(true);
  expect(encoder.writeInt32(9).buffer.equals(Buffer.concat([expected, length(9)]))).toBe(true);
});

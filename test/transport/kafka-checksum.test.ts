import { createRequire } from "node:module";
import { fc, test } from "@fast-check/vitest";
import { expect } from "vitest";
import { mendChecksum } from "../../src/transport/kafka/checksum.ts";

const load = createRequire(import.meta.url);
const own = load("kafkajs/src/protocol/recordBatch/crc32C/crc32C.js") as (bytes: Buffer) => number;

test.prop([fc.uint8Array({ maxLength: 5_000 })])("batches get the checksum that kafkajs would have given them", (bytes) => {
  mendChecksum();
  const mended = load("kafkajs/src/protocol/recordBatch/crc32C/index.js") as (bytes: Buffer) => number;
  expect(mended).not.toBe(own);
  expect(mended(Buffer.from(bytes))).toBe(own(Buffer.from(bytes)));
});

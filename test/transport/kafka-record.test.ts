import { test as property, fc } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { decodeRecord, encodeRecord } from "../../src/transport/kafka/record.ts";
import type { TransportRecord } from "../../src/transport/transport.ts";
import { recordOf } from "../conformance/transport.ts";

const about = { signal: "traces", tenant: "default" } as const;

property.prop([
  fc.record({
    tenant: fc.stringMatching(/^[a-z0-9-]{1,40}$/),
    signal: fc.constantFrom("traces" as const, "logs" as const),
    body: fc.uint8Array(),
    encoding: fc.constantFrom("identity" as const, "gzip" as const, "zstd" as const),
    redacted: fc.boolean(),
    receivedAtMs: fc.maxSafeNat(),
  }),
])("a record comes back from its Kafka form as it was", (record: TransportRecord) => {
  const { value, headers } = encodeRecord(record, null);
  // Kafka hands every header back as bytes.
  const bytes = Object.fromEntries(Object.entries(headers ?? {}).map(([name, text]) => [name, Buffer.from(String(text))]));
  expect(decodeRecord({ value: value as Buffer, headers: bytes, timestamp: "7" }, { signal: record.signal, tenant: "other" })).toEqual(
    record,
  );
});

test.each([
  ["no value", { value: null }, "it has no value"],
  ["an unknown encoding", { headers: { "nightshift-encoding": "br" } }, 'header nightshift-encoding is "br"'],
  ["a time that is none", { headers: { "nightshift-received-at-ms": "soon" } }, "header nightshift-received-at-ms is no time"],
  ["a claim that is no digest", { headers: { "nightshift-claim": "../keys" } }, "header nightshift-claim is no digest"],
  ["a negative time", { headers: { "nightshift-received-at-ms": "-1" } }, "header nightshift-received-at-ms is no time"],
])("%s is refused for good", (_, message, problem) => {
  const read = () => decodeRecord({ value: Buffer.from("x"), timestamp: "7", ...message }, about);
  expect(read).toThrow(problem);
  expect(read).toThrow(expect.objectContaining({ code: "kafka_record_invalid", retryable: false }));
});

test.each(["false", "TRUE", "1", ""])("redacted is %j: ingest redacts again", (redacted) => {
  const { value } = encodeRecord(recordOf(1), null);
  expect(decodeRecord({ value: value as Buffer, headers: { "nightshift-redacted": redacted }, timestamp: "7" }, about).redacted).toBe(
    false,
  );
});

test("a claim comes back as one", () => {
  const record = recordOf(1, { body: new Uint8Array(), claim: `sha256:${"ab".repeat(32)}` });
  const { value, headers } = encodeRecord(record, null);
  expect(decodeRecord({ value: value as Buffer, headers: headers ?? {}, timestamp: "7" }, about)).toEqual(record);
});

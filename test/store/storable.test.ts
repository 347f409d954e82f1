import { test as property, fc } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { insertable } from "../../src/store/rows.ts";
import { indexableText } from "../../src/store/storable.ts";

property.prop([fc.string({ unit: "binary", maxLength: 2_000 }), fc.string({ unit: "binary", maxLength: 2_000 })])(
  "a text for an index is at most 768 bytes, and two stay two",
  (one, other) => {
    const [first, second] = [indexableText(one), indexableText(other)];
    expect(Buffer.byteLength(first)).toBeLessThanOrEqual(768);
    expect(first).not.toMatch(/\0/);
    expect(first === second).toBe(one.toWellFormed().replaceAll("\0", "\uFFFD") === other.toWellFormed().replaceAll("\0", "\uFFFD"));
    expect(indexableText(first)).toBe(first);
  },
);

test("a character is not cut in the middle", () => {
  expect(indexableText("é".repeat(1_000))).toMatch(/^é{367}~[0-9a-f]{32}$/);
});

test("rows go in pieces of at most 65,535 parameters, in order", () => {
  const rows = Array.from({ length: 60_000 }, (_, id) => ({ id, other: 0 }));
  expect(insertable(rows).map((piece) => piece.length)).toEqual([32_767, 27_233]);
  expect(insertable(rows).flat()).toEqual(rows);
  expect(insertable([])).toEqual([]);
});

import { describe, expect, test } from "vitest";
import { createBudget, readWire } from "../collector/body.ts";
import { giveBack } from "../src/give-back.ts";

describe("bytes that are given back", () => {
  test("are gone, with what is known to be nobody's behind them", () => {
    const alone = new Uint8Array(8_192);
    giveBack(alone);
    expect(alone.length).toBe(0);
    const spare = new Uint8Array(new ArrayBuffer(8_193), 0, 8_192);
    giveBack(spare, { spare: 1 });
    expect(spare.length).toBe(0);
  });

  test("stay where anybody else may have a part of their memory, or where they are few", () => {
    const shared = new ArrayBuffer(8_200);
    const [one, other] = [new Uint8Array(shared, 0, 8_192), new Uint8Array(shared, 8_192)];
    giveBack(one);
    giveBack(one, { spare: 7 });
    const few = new Uint8Array(100);
    giveBack(few);
    expect([one.length, other.length, few.length]).toEqual([8_192, 8, 100]);
  });

  test("never are the pieces of a body: HTTP/2 cuts those of several requests out of one buffer", async () => {
    const reads = Array.from({ length: 20 }, () => new ArrayBuffer(8_192 + 5));
    const pieces = reads.map((read) => new Uint8Array(read, 0, 8_192));
    const neighbours = reads.map((read) => new Uint8Array(read, 8_192));
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield* pieces;
    }
    const limits = { maxBytes: 1e6, budget: createBudget(1e6) };
    const { wire: whole } = await readWire({ chunks: chunks(), declaredBytes: 0, encoding: "identity" }, limits, { bytes: 0 });
    expect(whole.length).toBe(20 * 8_192);
    expect(new Set(neighbours.map(({ length }) => length))).toEqual(new Set([5]));
  });
});

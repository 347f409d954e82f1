import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";
import { callKeyOf, canonicalArguments, canonicalJson, writeKeyOf } from "../../src/trajectory/canonical-arguments.ts";
import { UNKNOWN_ERA, withEras } from "../../src/trajectory/era.ts";
import { learnProfiles } from "../../src/trajectory/learn-profiles.ts";
import { tapeOf } from "../../src/trajectory/record-tape.ts";
import type { Tape } from "../../src/trajectory/tape.ts";
import { conversation, lookup, policyOf, refund, refundFails, shopConfigs } from "../rollout/build.ts";
import { define, toolConfig } from "../worlds/world.ts";

const schema = {
  type: "object",
  properties: {
    count: { type: "integer", default: 10 },
    name: { type: "string" },
    all: { type: "boolean", default: false },
    nested: { type: "object", properties: { page: { type: "number" } } },
    tags: { type: "array", items: { type: "number" } },
  },
};

describe("canonicalArguments", () => {
  it.each([
    ["keys in order", { name: "x", count: 3 }, '{"count":3,"name":"x"}'],
    ["JSON text", '{"name": "x"}', '{"name":"x"}'],
    ["numbers as text", { count: "25" }, '{"count":25}'],
    ["floats that are integers", '{"count": 25.0}', '{"count":25}'],
    ["text from numbers", { name: 7 }, '{"name":"7"}'],
    ["booleans as text", { all: "true" }, '{"all":true}'],
    ["defaults", { count: "10", all: false, name: "x" }, '{"name":"x"}'],
    ["nested values", { nested: { page: "2" } }, '{"nested":{"page":2}}'],
    ["arrays, in their order", { tags: ["2", 1] }, '{"tags":[2,1]}'],
    ["surrounding space", { name: "  x " }, '{"name":"x"}'],
    ["NFC", { name: "e\u0301" }, '{"name":"\u00e9"}'],
    ["lone surrogates", { name: "\ud800" }, '{"name":"\ufffd"}'],
    ["numbers that JSON lacks", { count: Number.NaN }, '{"count":null}'],
    ["ids too long for a number", { count: "12345678901234567890" }, '{"count":"12345678901234567890"}'],
    ["text that is no JSON", "{oops", '"{oops"'],
    ["a key called __proto__", '{"__proto__": 1}', '{"__proto__":1}'],
  ])("takes %s", (_, raw, json) => {
    expect(canonicalArguments(raw, schema).json).toBe(json);
  });

  test.prop([fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }))])("is the same in any key order, as text, and twice", (args) => {
    const once = canonicalArguments(args);
    expect(canonicalArguments(Object.fromEntries(Object.entries(args).reverse())).json).toBe(once.json);
    expect(canonicalArguments(JSON.stringify(args)).json).toBe(once.json);
    expect(canonicalArguments(once.value).json).toBe(once.json);
  });

  it("cuts what nests too deep instead of running out of stack", () => {
    expect(canonicalJson(JSON.parse("[".repeat(5_000) + "]".repeat(5_000))).length).toBeLessThan(200);
  });

  it("leaves clocks and nonces out of keys, and free text out of writes", () => {
    const roles = { at: "clock", "meta.nonce": "nonce", why: "freeText" } as const;
    const [one, two] = [
      { id: 1, at: 5, meta: { nonce: "a", x: 1 }, why: "late" },
      { id: 1, at: 6, meta: { nonce: "b", x: 1 }, why: "late" },
    ];
    expect(callKeyOf("t", one, roles)).toBe(callKeyOf("t", two, roles));
    expect(callKeyOf("t", one, roles)).not.toBe(callKeyOf("t", { ...one, why: "broken" }, roles));
    expect(writeKeyOf("t", one, roles)).toBe(writeKeyOf("t", { ...one, why: "broken" }, roles));
    expect(callKeyOf("t", one, roles)).not.toBe(callKeyOf("u", one, roles));
  });
});

function tapesOf(...trajectories: ReturnType<typeof conversation>[]): Tape[] {
  const profiles = learnProfiles(shopConfigs, trajectories);
  return withEras(trajectories.map((one) => tapeOf(one, { profiles, split: "train" })));
}

describe("tapeOf", () => {
  it("keeps answers byte for byte, with place, time and state", () => {
    const odd = { ...lookup("A1"), result: '{"order_id": "A1",  "item": "lamp"}' };
    const [tape] = tapesOf(conversation("t", [[odd, policyOf("lamp")], refund("A1"), refundFails("A1"), lookup("B2")], { startMs: 5_000 }));
    expect(
      tape?.entries.map(({ tool, result, isError, turn, parallelIndex, startedAtMs }) => [
        tool,
        result,
        isError,
        turn,
        parallelIndex,
        startedAtMs,
      ]),
    ).toEqual([
      ["lookup_order", '{"order_id": "A1",  "item": "lamp"}', false, 0, 0, 6_000],
      ["refund_policy", '{"item":"lamp","refund_days":30}', false, 0, 1, 6_020],
      ["issue_refund", '{"order_id":"A1","refunded":true}', false, 1, 0, 7_000],
      ["issue_refund", '{"error":"already refunded","order_id":"A1"}', true, 2, 0, 8_000],
      ["lookup_order", JSON.stringify(lookup("B2").result), false, 3, 0, 9_000],
    ]);
    const [look, policy, write, failed, other] = tape?.entries ?? [];
    // Only the successful write changes the state, and only of its own entity.
    expect([look?.writePrefix, policy?.writePrefix, write?.writePrefix]).toEqual(["", "", ""]);
    expect(failed?.writePrefix).not.toBe("");
    expect(other?.writePrefix).toBe(failed?.writePrefix);
    expect(failed?.entityVersion).toEqual({ "order:A1": failed?.writePrefix });
    expect(other?.entityVersion).toEqual({ "order:B2": "" });
    expect([look?.entitiesTouched, policy?.entitiesTouched, write?.writeKey === null, failed?.writeKey]).toEqual([
      ["order:A1"],
      [],
      false,
      null,
    ]);
  });

  it("pairs by id where there are ids, by order where there are none", () => {
    const one = conversation("t", [[lookup("A1"), lookup("B2")]]);
    const bare = {
      ...one,
      messages: one.messages.map((message) => ({ ...message, parts: message.parts.map((part) => ({ ...part, id: undefined })) })),
    };
    const swapped = { ...one, messages: [...one.messages.slice(0, 3), ...one.messages.slice(3, 5).reverse(), ...one.messages.slice(5)] };
    const results = (trajectory: typeof one): unknown => tapesOf(trajectory)[0]?.entries.map(({ result }) => result);
    expect(results(swapped)).toEqual(results(one));
    expect(results(bare)).toEqual(results(one));
  });

  it("does not know the state after a write whose answer is missing", () => {
    const one = conversation("t", [lookup("A1"), refund("A1"), lookup("A1")]);
    const lost = { ...one, messages: one.messages.filter(({ parts }) => parts[0]?.["id"] !== "c1-0" || parts[0].type === "tool_call") };
    const entries = tapesOf(lost)[0]?.entries ?? [];
    expect(entries.map(({ tool }) => tool)).toEqual(["lookup_order", "lookup_order"]);
    expect(entries[1]?.entityVersion["order:A1"]).not.toBe("");
  });

  it("marks parallel calls whose order matters", () => {
    const racedOf = (...steps: Parameters<typeof conversation>[1][number][]): unknown =>
      tapesOf(conversation("t", [steps.flat()]))[0]?.entries.map(({ raced }) => raced !== null);
    expect(racedOf(refund("A1"), lookup("A1"), policyOf("lamp"))).toEqual([true, true, false]);
    expect(racedOf(refund("A1"), lookup("B2"))).toEqual([false, false]);
    expect(racedOf(lookup("A1"), lookup("A1"))).toEqual([false, false]);
  });

  it("takes entities from answers too: what a write returned belongs to it", () => {
    const configs = {
      get_booking: toolConfig({ class: "read", entityPaths: ["booking:{booking_id}"] }),
      book: toolConfig({ class: "write", entityPaths: ["room:{room_id}"] }),
      list: toolConfig({ class: "read" }),
    };
    const tools = [define("book", {}), define("list", {})];
    const book = { tool: "book", args: { room_id: "R1" }, result: { booking_id: "B1", room_id: "R1" } };
    const list = { tool: "list", args: {}, result: { bookings: [{ booking_id: "B1" }, { booking_id: "B2" }] } };
    const one = conversation("t", [book, list], { tools });
    const tape = tapeOf(one, { profiles: learnProfiles(configs, [one]), split: "train" });
    expect(tape.entries.map(({ entitiesTouched }) => entitiesTouched)).toEqual([
      ["booking:B1", "room:R1"],
      ["*", "booking:B1", "booking:B2"],
    ]);
  });
});

describe("withEras", () => {
  const eraOf = (tapes: readonly Tape[], id: string, entity: string): unknown =>
    tapes.find((tape) => tape.id === `${id}@1`)?.entries[0]?.entityEra[entity];

  it("counts successful writes of all conversations before a call", () => {
    const tapes = tapesOf(
      conversation("first", [lookup("A1")], { startMs: 0 }),
      conversation("second", [refund("A1"), refundFails("A1")], { startMs: 10_000 }),
      conversation("third", [lookup("A1")], { startMs: 20_000 }),
      conversation("fourth", [lookup("B2")], { startMs: 30_000 }),
    );
    expect(["first", "second", "third"].map((id) => eraOf(tapes, id, "order:A1"))).toEqual([0, 0, 1]);
    expect(eraOf(tapes, "fourth", "order:B2")).toBe(0);
    expect(tapes.find(({ id }) => id === "second@1")?.entries[1]?.entityEra["order:A1"]).toBe(1);
  });

  it("says that nobody knows while another conversation's write was under way", () => {
    const tapes = tapesOf(conversation("a", [lookup("A1")], { startMs: 0 }), conversation("b", [refund("A1")], { startMs: 5 }));
    expect(eraOf(tapes, "a", "order:A1")).toBe(UNKNOWN_ERA);
  });

  it("does not mix tenants", () => {
    const other = conversation("b", [refund("A1")], { startMs: 0, overrides: { tenant: "else" } });
    expect(eraOf(tapesOf(conversation("a", [lookup("A1")], { startMs: 10_000 }), other), "a", "order:A1")).toBe(0);
  });
});

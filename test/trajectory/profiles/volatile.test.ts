import { describe, expect, it } from "vitest";
import { factOf, learned, reads, timeOf, traffic, unsaid, uuid, type Call } from "./traffic.ts";

const tools = [reads("get", "id"), unsaid("set", "id")];

/** Twice the same read in each conversation, with `between` in between. */
function twice(field: string, valueOf: (index: number, turn: number, startMs: number) => unknown, between: readonly Call[] = []) {
  return traffic(8, tools, (index, startMs) => {
    const read = (turn: number): Call => ({
      tool: "get",
      args: { id: `A${index % 3}` },
      result: { id: `A${index % 3}`, left: 3, [field]: valueOf(index, turn, startMs) },
    });
    return [read(0), ...between, read(1 + between.length)];
  });
}

describe("volatile result paths", () => {
  it.each([
    { what: "the call's own time", value: (_: number, turn: number, startMs: number): unknown => timeOf(startMs, turn) },
    { what: "a request's id", value: (index: number, turn: number): unknown => uuid(100 + index * 10 + turn) },
    { what: "a Unix time", value: (_: number, turn: number, startMs: number): unknown => startMs + 1_000 * (turn + 1) },
  ])("are $what, new in every repeat", ({ value }) => {
    const profile = learned(twice("meta", value), "get");
    expect(profile.volatileResultPaths).toEqual(["meta"]);
    expect(factOf(profile, "volatileResultPaths")).toMatchObject({ for: 8, against: 0, used: true });
  });

  it("may lie in lists", () => {
    const nested = twice("items", (index, turn) => [{ trace: uuid(index * 10 + turn) }, { trace: uuid(500 + index * 10 + turn) }]);
    expect(learned(nested, "get").volatileResultPaths).toEqual(["items.*.trace"]);
  });

  it.each([
    { what: "counts up: it is state", value: (index: number, turn: number): unknown => index * 10 + turn },
    { what: "is a time to come", value: (_: number, turn: number, startMs: number): unknown => timeOf(startMs + 86_400_000, turn) },
    { what: "changes in some repeats only", value: (index: number, turn: number): unknown => uuid(index === 2 ? 9 : index * 10 + turn) },
    { what: "never changes", value: (): unknown => "same" },
  ])("are none where a path $what", ({ value }) => {
    expect(learned(twice("meta", value), "get").volatileResultPaths).toEqual([]);
  });

  it("are not what changes only across writes", () => {
    const set: Call = { tool: "set", args: { id: "A1" }, result: { ok: true } };
    const profile = learned(
      twice("etag", (index, turn) => uuid(index * 10 + turn), [set]),
      "get",
    );
    expect(profile.volatileResultPaths).toEqual([]);
  });

  it("are not drawn values that agents hand on", () => {
    const cursor = traffic(8, [reads("get", "id"), reads("next", "cursor")], (index) => [
      { tool: "get", args: { id: "A" }, result: { cursor: uuid(index * 10) } },
      { tool: "get", args: { id: "A" }, result: { cursor: uuid(index * 10 + 1) } },
      { tool: "next", args: { cursor: uuid(index * 10 + 1) }, result: [] },
    ]);
    expect(learned(cursor, "get").volatileResultPaths).toEqual([]);
  });

  it("of a write are ids that every success made anew, and no others", () => {
    const paid = traffic(12, [unsaid("pay", "order_id")], (index) => [
      {
        tool: "pay",
        args: { order_id: `A${index}` },
        result: { order_id: `A${index}`, payment_id: `P${index}`, customer_id: "C1", left: index },
      },
    ]);
    expect(learned(paid, "pay").volatileResultPaths).toEqual(["payment_id"]);
  });

  it("stand as configured", () => {
    const calls = twice("meta", (index, turn) => uuid(index * 10 + turn));
    expect(learned(calls, "get", { get: { volatileResultPaths: ["x"] } }).volatileResultPaths).toEqual(["x"]);
  });
});

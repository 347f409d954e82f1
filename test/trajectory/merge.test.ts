import { describe, expect, test } from "vitest";
import type { Call } from "../../src/trace/call.ts";
import { createItemReader } from "../../src/trajectory/assembly/items.ts";
import { indexSpans, mergeCalls } from "../../src/trajectory/assembly/merge.ts";
import { inference, root, SIMPLE, tool, TOOLS } from "./calls.ts";

const { system, question, done } = SIMPLE;
const merged = (calls: readonly Call[]) => mergeCalls(calls, indexSpans(calls), createItemReader());
const ask = (id: string, more = {}) => inference(id, [10, 20], [system, question], [done], { tools: null, ...more });

describe("tools that are told of the agent", () => {
  const OTHERS = [{ name: "search" }];

  test("stand for its calls, which tell none", () => {
    expect(merged([root([0, 50], { tools: TOOLS }), ask("i1")])[0]?.tools).toEqual(TOOLS);
  });

  test("do not replace what a call tells itself, be it nothing", () => {
    expect(merged([root([0, 50], { tools: TOOLS }), ask("i1", { tools: OTHERS })])[0]?.tools).toEqual(OTHERS);
    expect(merged([root([0, 50], { tools: TOOLS }), ask("i1", { tools: [] })])[0]?.tools).toEqual([]);
  });

  test("are not those of an agent that runs inside one of its tools", () => {
    const inTool = [root([0, 50], { tools: TOOLS }), tool("x1", [5, 40], "delegate", "c9"), ask("i1", { parentSpanId: "x1" })];
    expect(merged(inTool)[0]?.tools).toBeNull();
    const inner = { ...root([6, 30], { tools: OTHERS }), spanId: "inner", parentSpanId: "x1" };
    expect(merged([...inTool.slice(0, 2), inner, ask("i1", { parentSpanId: "inner" })])[0]?.tools).toEqual(OTHERS);
  });

  test("parents in a circle end the search", () => {
    const one = { ...root([0, 50]), spanId: "one", parentSpanId: "two" };
    const two = { ...root([0, 50]), spanId: "two", parentSpanId: "one" };
    expect(merged([one, two, ask("i1", { parentSpanId: "one" })])[0]?.tools).toBeNull();
  });
});

test("calls with one response id, whose answers were not recorded, are not taken for one", () => {
  const silent = { responseId: "same", parentSpanId: null };
  const calls = [
    inference("i1", [0, 1], [system, question], [], silent),
    inference("i2", [2, 3], [system, question, done, question], [], silent),
  ];
  expect(merged(calls)).toHaveLength(2);
});

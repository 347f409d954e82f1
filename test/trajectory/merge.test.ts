import { describe, expect, test } from "vitest";
import type { Call, InferenceCall } from "../../src/trace/call.ts";
import { createItemReader } from "../../src/trajectory/assembly/items.ts";
import { mergeCalls } from "../../src/trajectory/assembly/merge.ts";
import { indexSpans } from "../../src/trajectory/assembly/spans.ts";
import { inference, root, say, SIMPLE, tool, TOOLS } from "./calls.ts";

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

describe("calls with one response id and one answer", () => {
  const { found, lookup } = SIMPLE;
  const more = [system, question, done, say("user", "Sure?")];
  const recorded = (id: string, at: [number, number], input = [system, question], more: Partial<InferenceCall> = {}) =>
    inference(id, at, input, [done], { responseId: "same", parentSpanId: null, ...more });
  const recordings = (...calls: InferenceCall[]) =>
    merged(calls).map(({ recordedBy }) =>
      recordedBy
        .map(({ spanId }) => spanId)
        .toSorted()
        .join("+"),
    );
  const gateway = { traceId: "t2", adapterDigest: "sha256:a" };

  test("are two where one came after the other and was asked something else: a server may give one id to all", () => {
    expect(recordings(recorded("a", [0, 10]), recorded("b", [20, 30], more))).toEqual(["a", "b"]);
    expect(recordings(recorded("a", [0, 10]), recorded("b", [20, 30], []))).toEqual(["a", "b"]);
  });

  test("are one where they were under way together, however each worded the question, or were asked the same by clocks that differ", () => {
    expect(recordings(recorded("a", [0, 10]), recorded("b", [2, 8], [question]))).toEqual(["a+b"]);
    expect(recordings(recorded("a", [0, 10]), recorded("b", [9, 12], [question]))).toEqual(["a+b"]);
    expect(recordings(recorded("a", [0, 10]), recorded("b", [500, 510]))).toEqual(["a+b"]);
  });

  test("go to the gateway's span of their own time, and two of the gateway's are never one", () => {
    const later = [system, question, lookup, found];
    const seen = [recorded("g1", [1, 9], [system, question], gateway), recorded("g2", [21, 29], later, gateway)];
    const told = [recorded("s1", [0, 10], [question]), recorded("s2", [20, 30], [question, lookup])];
    expect(recordings(...told, ...seen)).toEqual(["g1+s1", "g2+s2"]);
    const again = [recorded("g1", [1, 9], more, gateway), recorded("g2", [1, 9], more, gateway)];
    expect(recordings(...again)).toEqual(["g1", "g2"]);
  });

  test("go to the gateway's span that was asked the same before another that was under way", () => {
    const seen = [recorded("g1", [1, 9], [system, question], gateway), recorded("g2", [21, 29], more, gateway)];
    expect(recordings(...seen, recorded("s2", [2, 10], more))).toEqual(["g1", "g2+s2"]);
  });
});

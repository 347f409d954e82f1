import { describe, expect, test } from "vitest";
import type { Call } from "../../src/trace/call.ts";
import type { Message } from "../../src/trace/message.ts";
import { assemble, type Draft } from "../../src/trajectory/assemble.ts";
import { answer, ask, inference, root, say, SIMPLE, tool } from "./calls.ts";

/** A hostile sender's conversations: what takes time by the square of the spans takes minutes here. */
const SPANS = 20_000;
const many = <T>(make: (index: number) => T): T[] => Array.from({ length: SPANS }, (_, index) => make(index));
const build = (calls: readonly Call[]): Draft[] => assemble({ id: "c", key: "k", tenant: "default", agent: "shop" }, calls, {});
const { question, done } = SIMPLE;
const asked = (index: number) => say("user", `Question ${index}`);

describe("conversations of very many spans", () => {
  test("wrappers inside wrappers are one call", () => {
    const calls = many((i) => inference(`w${i}`, [i, 2 * SPANS - i], [question], [done], { parentSpanId: i === 0 ? null : `w${i - 1}` }));
    expect(build(calls).map(({ trajectory }) => trajectory.usage.calls)).toEqual([1]);
  });

  test("calls at every depth of a long chain of parents, and of a circle", () => {
    const chain = many((i) => ({ ...root([i, i + 1]), spanId: `p${i}`, parentSpanId: i === 0 ? null : `p${i - 1}` }));
    const circle = many((i) => ({ ...root([i, i + 1]), spanId: `p${i}`, parentSpanId: `p${(i + 1) % SPANS}` }));
    const inside = many((i) => inference(`i${i}`, [i, i + 1], [question], [done], { parentSpanId: `p${i}` }));
    for (const around of [chain, circle]) expect(build([...around, ...inside])[0]?.trajectory.usage.calls).toBe(SPANS);
  });

  test("as many answers to one question", () => {
    const drafts = build(many((i) => inference(`i${i}`, [i, i + 1], [question], [say("assistant", `Answer ${i}`)])));
    expect(drafts.filter(({ evidence }) => evidence.abandoned)).toHaveLength(SPANS - 1);
  });

  test("as many calls with one response id", () => {
    const calls = many((i) => inference(`i${i}`, [3 * i, 3 * i + 1], [asked(i)], [done], { responseId: "same" }));
    expect(build(calls)).toHaveLength(SPANS);
  });

  test("more turns that lost their calls, among as many calls", () => {
    const emptied = many((i): Message[] =>
      Array.from({ length: 4 }, () => [{ role: "assistant", parts: [] }, answer(undefined, i)]).flat(),
    ).flat();
    const calls = many((i) => inference(`i${i}`, [i, i + 1], [question], [done]));
    const last = inference("last", [SPANS, SPANS + 1], [question, done, ...emptied], [say("assistant", "End")]);
    expect(build([...calls, last])[0]?.trajectory.usage.calls).toBe(SPANS + 1);
  });

  test("as many tool calls, without ids, and their executions in another order", () => {
    const calls = many((i) => [undefined, "lookup", { order: i }] as [undefined, string, unknown]);
    const executions = many((i) => tool(`x${i}`, [SPANS - i, SPANS], "lookup", null, { arguments: { order: i } }));
    const [draft] = build([inference("i", [0, 1], [question], [ask(...calls)]), ...executions]);
    expect(draft?.trajectory.toolTimings.map(({ spanId }) => spanId)).toEqual(many((i) => `x${i}`));
  });
});

import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { assemble } from "../../src/trajectory/assemble.ts";
import { verdictOf } from "../../src/trajectory/verdict.ts";
import { answer, ask, inference, say, SIMPLE } from "./calls.ts";

/** Old OpenLLMetry for JavaScript: an assistant's turn in the history is empty where it called tools; results have no ids. */
const { agents } = parseConfig({ agents: { shop: { model: "m", baseModel: "b" } } });
const { system, question, done } = SIMPLE;
const emptied = { role: "assistant", parts: [] };
const lookup = ask([undefined, "lookup", { order: "A1" }]);
const result = answer(undefined, { status: "lost" });
const last = inference("i2", [20, 30], [system, question, emptied, result], [done]);
const build = (...calls: Parameters<typeof assemble>[1]) =>
  assemble({ id: "c", key: "k", tenant: "default", agent: "shop" }, calls, agents);

test("a turn gets its calls from the span of the call that wrote it", () => {
  const drafts = build(last, inference("i1", [0, 10], [system, question], [lookup]));
  expect(drafts).toHaveLength(1);
  expect(drafts[0]?.trajectory).toMatchObject({ messages: [system, question, lookup, result, done], usage: { calls: 2 } });
  expect(verdictOf(drafts[0]!, { trainingConsent: "allow" }).reasons).toEqual([]);
});

test("parallel calls without ids are told apart by order, which is a guess", () => {
  const both = ask([undefined, "lookup", { order: "A1" }], [undefined, "lookup", { order: "B2" }]);
  const after = inference("i2", [20, 30], [system, question, emptied, result, result], [done]);
  const drafts = build(inference("i1", [0, 10], [system, question], [both]), after);
  expect(drafts[0]?.trajectory.messages).toEqual([system, question, both, result, result, done]);
  expect(verdictOf(drafts[0]!, { trainingConsent: "allow" }).reasons).toEqual(["pairing_guessed"]);
});

test("a turn that nobody or one of two wrote keeps its gap, and the verdict names it", () => {
  const other = ask([undefined, "lookup", { order: "B2" }]);
  const twice = [inference("i0", [0, 5], [system, question], [other]), inference("i1", [6, 10], [system, question], [lookup])];
  for (const [draft] of [build(last), build(...twice, last)]) {
    expect(draft?.trajectory.messages).toEqual([system, question, emptied, result, done]);
    expect(verdictOf(draft!, { trainingConsent: "allow" }).reasons).toEqual(["tool_calls_missing"]);
  }
});

describe("a tool's result goes on from the call that asked for it", () => {
  const after = (id?: string) => inference("i2", [20, 30], [system, question, answer(id, { status: "lost" })], [done]);
  const spansOf = (...calls: Parameters<typeof assemble>[1]) =>
    build(...calls).map(({ trajectory }) => trajectory.spans.map(({ spanId }) => spanId));

  test("and not from another answer to the same question", () => {
    const discarded = inference("i0", [0, 5], [system, question], [say("assistant", "No idea.")]);
    const asked = inference("i1", [6, 10], [system, question], [lookup]);
    expect(spansOf(discarded, asked, after())).toEqual([["i0"], ["i1", "i2"]]);
  });

  test("which ids tell where both have them", () => {
    const one = inference("i0", [0, 5], [system, question], [ask(["c1", "lookup", { order: "B2" }])]);
    const other = inference("i1", [6, 10], [system, question], [ask(["c2", "lookup", { order: "A1" }])]);
    expect(spansOf(one, other, after("c2"))).toEqual([["i0"], ["i1", "i2"]]);
    expect(spansOf(one, other, after())).toEqual([["i0", "i1", "i2"]]);
  });
});

import { describe, expect, test } from "vitest";
import type { Call } from "../../src/trace/call.ts";
import { assemble } from "../../src/trajectory/assemble.ts";
import { answer, ask, inference, root, say, SIMPLE, tool } from "./calls.ts";

/** By the question that a trajectory begins with: which spans ran the tools that it asked for. */
function executionsOf(...calls: Call[]): Record<string, string[]> {
  const drafts = assemble({ id: "c", key: "k", tenant: "default", agent: "shop" }, calls, {});
  return Object.fromEntries(
    drafts.map(({ trajectory: { messages, toolTimings } }) => [
      String(messages[0]?.parts[0]?.["content"]),
      toolTimings.map(({ spanId }) => spanId),
    ]),
  );
}

const agent = (spanId: string, agentName: string | null, parentSpanId: string | null = "root") => ({
  ...root([0, 1_000], { agentName }),
  spanId,
  parentSpanId,
});
const looking = (id: string | undefined) => ask([id, "lookup", { order: "A1" }]);
const { done } = SIMPLE;

/** Two agents that look the same order up: what `id` names their calls. */
function twoAgents(id: string | undefined, within: { main: string; sub: string }, traceOfMain = "t1"): Call[] {
  const turn = (name: string, at: number, parentSpanId: string, traceId = "t1") => [
    inference(`${name}1`, [at, at + 1], [say("user", name)], [looking(id)], { parentSpanId, traceId }),
    inference(`${name}2`, [at + 5, at + 6], [say("user", name), looking(id), answer(id, "lost")], [done], { parentSpanId, traceId }),
  ];
  return [...turn("main", 0, within.main, traceOfMain), ...turn("sub", 20, within.sub)];
}

describe.each([undefined, "call_0"])("an agent's tools (calls have the id %s)", (id) => {
  const own = (spanId: string, at: number, parentSpanId: string) =>
    tool(spanId, [at, at + 1], "lookup", id ?? null, { parentSpanId, arguments: { order: "A1" } });

  test("are not taken for those of the agent around it, nor the other way round", () => {
    const within = { main: "outer", sub: "inner" };
    const agents = [agent("outer", "shop"), agent("inner", "stock", "outer")];
    const calls = [...agents, ...twoAgents(id, within)];
    expect(executionsOf(...calls, own("early", 2, "inner"), own("late", 22, "outer"))).toEqual({ main: ["late"], sub: ["early"] });
    expect(executionsOf(...calls, own("x", 2, "inner"))).toEqual({ main: [], sub: ["x"] });
  });

  test("are its own too where its name is not known, inside the tool that it is", () => {
    const delegate = tool("delegate", [10, 40], "ask_stock", null, { parentSpanId: "outer" });
    const calls = [agent("outer", "shop"), delegate, ...twoAgents(id, { main: "outer", sub: "delegate" })];
    expect(executionsOf(...calls, own("x", 2, "delegate"))).toEqual({ main: [], sub: ["x"] });
  });

  test("stay with it where an agent of another name around them asks no model", () => {
    const calls = [agent("outer", "shop"), agent("node", "tools", "outer"), ...twoAgents(id, { main: "outer", sub: "inner" })];
    expect(executionsOf(...calls, agent("inner", "stock"), own("x", 2, "node"))).toEqual({ main: ["x"], sub: [] });
  });

  test("are found from calls that only the gateway told, in traces of their own", () => {
    const calls = twoAgents(id, { main: "http", sub: "inner" }, "t2");
    expect(executionsOf(...calls, agent("inner", "stock"), agent("outer", "shop"), own("x", 2, "outer"))).toMatchObject({ main: ["x"] });
  });
});

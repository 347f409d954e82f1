import { describe, expect, it } from "vitest";
import { define, toolConfig } from "../worlds/world.ts";
import { cascadeFor, conversation, lookup, play, policyOf, refund, shopConfigs, type Step } from "./build.ts";

const DAY = 86_400_000;
const order = (id: string, status = "delivered", refunded = false) => ({ order_id: id, item: "lamp", status, refunded });
const list = (orders: readonly object[]): Step => ({
  tool: "list_orders",
  args: { customer_id: "C1" },
  result: { customer_id: "C1", orders },
});
const tools = [...(conversation("x", []).tools ?? []), define("list_orders", { customer_id: { type: "string" } })];
const configs = {
  ...shopConfigs,
  list_orders: toolConfig({ class: "read", argumentRoles: { customer_id: "key" }, entityPaths: ["customer:{customer_id}"] }),
};
const tape = (id: string, startMs: number, turns: readonly Step[]) =>
  conversation(id, turns, { startMs, tools, says: "order A1, A2 and A3 please" });
/** Twice the tapes show that an order in a list is what its lookup answers. */
const confirming = [tape("c1", 1 * DAY, [list([order("B1")]), lookup("B1")]), tape("c2", 2 * DAY, [lookup("B2"), list([order("B2")])])];

describe("a read of what a list has shown (R4)", () => {
  const mine = tape("mine", 5 * DAY, [list([order("A1"), order("A2", "shipped")])]);

  it("is that part of the list, in the shape of such reads", () => {
    const answers = play(cascadeFor([mine, ...confirming], { configs }), mine, [list([]), lookup("A2")]);
    expect(answers[1]).toMatchObject({ rung: "R4", result: JSON.stringify(order("A2", "shipped")), madeFrom: ["mine@1", "c2@1"] });
  });

  it.each([
    ["nothing confirms that the two tell the same", [mine, confirming[0]!]],
    ["a tape contradicts it", [mine, ...confirming, tape("c3", 3 * DAY, [list([order("B3")]), lookup("B3", "shipped")])]],
    ["the list shows less", [tape("mine", 5 * DAY, [list([{ order_id: "A2", status: "shipped" }])]), ...confirming]],
    ["it was written since", [mine, ...confirming, ...[1, 2, 3].map((n) => tape(`r${n}`, n * 1_000, [refund(`D${n}`)]))], refund("A2")],
  ])("is none where %s", (_, trajectories, ...first) => {
    const calls = [...(first as Step[]), lookup("A2")];
    const answers = play(cascadeFor(trajectories, { configs }), trajectories[0]!, calls);
    expect(answers.map(({ rung }) => rung)).toEqual([...first.map(() => "R4"), "R7"]);
  });

  it("may be of another conversation's list, in the same world only", () => {
    const other = tape("other", 4 * DAY, [list([order("A3")])]);
    const asking = tape("asking", 5 * DAY, [policyOf("lamp")]);
    expect(play(cascadeFor([asking, other, ...confirming], { configs }), asking, [lookup("A3")])[0]?.rung).toBe("R4");
    const between = tape("between", 4.5 * DAY, [refund("A3")]);
    expect(play(cascadeFor([asking, other, between, ...confirming], { configs }), asking, [lookup("A3")])[0]?.rung).toBe("R7");
  });
});

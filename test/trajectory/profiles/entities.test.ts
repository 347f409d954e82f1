import { describe, expect, it } from "vitest";
import { factOf, learned, reads, traffic, unsaid, type Call } from "./traffic.ts";

const lookup = (id: string): Call => ({ tool: "lookup_order", args: { order_id: id }, result: { order_id: id, status: "shipped" } });
const list = (customer: string, ids: readonly string[]): Call => ({
  tool: "list_orders",
  args: { customer_id: customer },
  result: { customer_id: customer, orders: ids.map((order_id) => ({ order_id })) },
});
const tools = [reads("lookup_order", "order_id"), reads("list_orders", "customer_id")];
const says = (index: number) => `I am C${index % 6}`;

describe("entities", () => {
  const calls = traffic(8, tools, (index) => [list(`C${index % 6}`, [`A${index}`, `B${index}`]), lookup(`A${index}`)], says);

  it("are told by ids that other tools list", () => {
    const profile = learned(calls, "lookup_order");
    expect(profile).toMatchObject({ argumentRoles: { order_id: "key" }, entityPaths: ["order:{order_id}"] });
    expect(factOf(profile, "entityPaths")).toMatchObject({ from: "learned", for: 8, against: 0 });
  });

  it("narrow no state: a read with learned entities depends on everything", () => {
    expect(learned(calls, "lookup_order").scope).toBe("everything");
  });

  it("take the operator's name for the same argument, and leave what the operator said", () => {
    const configs = { refund: { class: "write" as const, entityPaths: ["sale:{order_id}"] } };
    expect(learned(calls, "lookup_order", configs).entityPaths).toEqual(["sale:{order_id}"]);
    expect(learned(calls, "lookup_order", { lookup_order: { entityPaths: [] } }).entityPaths).toEqual([]);
  });

  it("find the name of a bare `id` where its values are told", () => {
    const bare = traffic(
      8,
      [reads("get", "id"), tools[1] as (typeof tools)[number]],
      (index) => [list(`C${index % 6}`, [`A${index}`]), { tool: "get", args: { id: `A${index}` }, result: { status: "shipped" } }],
      says,
    );
    expect(learned(bare, "get").entityPaths).toEqual(["order:{id}"]);
  });

  it.each([
    {
      what: "text that looks like an id and that agents make up",
      calls: traffic(12, [unsaid("note", "note"), reads("last_notes", "n")], (index) => [
        { tool: "note", args: { note: `REF-${index}` }, result: { note: `REF-${index}` } },
        { tool: "last_notes", args: {}, result: [{ note: `REF-${index}` }] },
      ]),
      tool: "note",
      path: "note",
    },
    {
      what: "a number that is no id",
      calls: traffic(12, [reads("rooms", "max_price"), reads("room", "room")], (index) => [
        { tool: "rooms", args: { max_price: 100 + index }, result: [{ max_price: 100 + index }] },
        { tool: "room", args: { room: "r" }, result: { max_price: 100 + index } },
      ]),
      tool: "rooms",
      path: "max_price",
    },
    {
      what: "a due date",
      calls: traffic(12, [unsaid("bill", "due_date"), reads("bills", "n")], (index) => [
        { tool: "bills", args: {}, result: [{ due_date: `2027-01-${10 + index}` }] },
        { tool: "bill", args: { due_date: `2027-01-${10 + index}` }, result: { ok: true } },
      ]),
      tool: "bill",
      path: "due_date",
    },
    {
      what: "four values",
      calls: traffic(4, tools, (index) => [list("C1", [`A${index}`]), lookup(`A${index}`)], says),
      tool: "lookup_order",
      path: "order_id",
    },
  ])("are not told by $what", ({ calls: odd, tool, path }) => {
    expect(learned(odd, tool).argumentRoles[path]).not.toBe("key");
    expect(learned(odd, tool).entityPaths).toEqual([]);
  });
});

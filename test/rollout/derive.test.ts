import { expect, it } from "vitest";
import { define, toolConfig } from "../worlds/world.ts";
import { cascadeFor, conversation, play, type Step } from "./build.ts";

const text = { type: "string" };
const number = { type: "integer" };
const tools = [define("get_cart", { cart_id: text }), define("put_in_cart", { cart_id: text, quantity: number })];
const cart = { argumentRoles: { cart_id: "key" as const }, entityPaths: ["cart:{cart_id}"] };
const configs = { get_cart: toolConfig({ class: "read", ...cart }), put_in_cart: toolConfig({ class: "write", ...cart }) };
const get = (id: string, quantity: number): Step => ({
  tool: "get_cart",
  args: { cart_id: id },
  result: { cart_id: id, quantity, open: true },
});
const put = (id: string, quantity: number, said: object): Step => ({
  tool: "put_in_cart",
  args: { cart_id: id, quantity },
  result: { cart_id: id, ...said },
});
/** The cart after two were put into one of five, where other tapes show that `seen` replace what was in the cart. */
function afterPut(said: object, seen: number): unknown {
  const mine = conversation("mine", [get("A", 5), put("A", 2, said)], { tools, startMs: 9e7 });
  const others = Array.from({ length: seen }, (_, index) =>
    conversation(`t${index}`, [get(`B${index}`, 7), put(`B${index}`, 3, said), get(`B${index}`, 3)], { tools, startMs: index * 1e6 }),
  );
  const answer = play(cascadeFor([mine, ...others], { configs }), mine, [get("A", 5), put("A", 2, said), get("A", 2)])[2];
  return answer?.result === null ? answer.rung : { rung: answer?.rung, ...(JSON.parse(answer?.result ?? "{}") as object) };
}

it("does not take what a write was given for what it left, unless tapes confirm it twice", () => {
  // Whether two were put beside the five or in their place, neither the call nor its answer tells.
  for (const said of [{ ok: true }, { open: true }, { open: false }]) {
    expect(afterPut(said, 0)).toBe("R7");
    expect(afterPut(said, 1)).toBe("R7");
  }
  expect(afterPut({ ok: true }, 2)).toEqual({ rung: "R4", cart_id: "A", quantity: 2, open: true });
});

it("takes what the write itself answered", () => {
  expect(afterPut({ quantity: 7 }, 0)).toEqual({ rung: "R4", cart_id: "A", quantity: 7, open: true });
});

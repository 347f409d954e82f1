import { describe, expect, test } from "vitest";
import type { Order } from "../../deploy/quickstart/catalog.ts";
import { readReply } from "../../deploy/quickstart/reply.ts";
import { startShop } from "../../deploy/quickstart/shop-server.ts";
import { createShop } from "../../deploy/quickstart/shop.ts";

const young: Order = { orderId: "A0001", item: "mug", status: "shipped", ageDays: 14, refunded: false };
const old: Order = { orderId: "A0002", item: "mug", status: "delivered", ageDays: 15, refunded: false };
const paid: Order = { orderId: "A0003", item: "desk", status: "packed", ageDays: 3, refunded: true };
const orders = [young, old, paid];

describe("tools", () => {
  test.each([
    ["lookup_order", { order_id: "A0001" }, 200, '{"order_id":"A0001","item":"mug","status":"shipped","age_days":14,"refunded":false}', 0],
    ["lookup_order", { order_id: "A9999" }, 404, '{"error":"order not found","order_id":"A9999"}', 0],
    ["lookup_order", { order: "A0001" }, 422, '{"error":"invalid arguments"}', 0],
    ["lookup_order", { order_id: 1 }, 422, '{"error":"invalid arguments"}', 0],
    ["lookup_order", { order_id: "A0001", item: "mug" }, 422, '{"error":"invalid arguments"}', 0],
    ["lookup_order", null, 422, '{"error":"invalid arguments"}', 0],
    ["lookup_order", ["A0001"], 422, '{"error":"invalid arguments"}', 0],
    ["refund_policy", { item: "mug" }, 200, '{"item":"mug","refund_days":14}', 0],
    ["refund_policy", { item: "toString" }, 404, '{"error":"unknown item"}', 0],
    ["issue_refund", { order_id: "A0001" }, 200, '{"order_id":"A0001","refunded":true}', 1],
    ["issue_refund", { order_id: "A0002" }, 200, '{"order_id":"A0002","refunded":true}', 1],
    ["issue_refund", { order_id: "A0003" }, 409, '{"error":"already refunded","order_id":"A0003"}', 0],
    ["issue_refund", { order_id: "A9999" }, 404, '{"error":"order not found","order_id":"A9999"}', 0],
    ["drop_table", {}, 404, '{"error":"unknown tool"}', 0],
  ])("%s %j answers %i", (tool, args, status, body, writes) => {
    const shop = createShop(orders);
    const answer = shop.call(tool, args);
    expect([answer.status, JSON.stringify(answer.body), shop.counters().writes]).toEqual([status, body, writes]);
  });

  test("a refund stays, and a second one is an error", () => {
    const shop = createShop(orders);
    shop.call("issue_refund", { order_id: "A0001" });
    expect(shop.call("lookup_order", { order_id: "A0001" }).body["refunded"]).toBe(true);
    expect(shop.call("issue_refund", { order_id: "A0001" }).status).toBe(409);
    expect(shop.counters()).toEqual({ calls: { lookup_order: 1, refund_policy: 0, issue_refund: 2 }, writes: 1 });
  });

  test("loading a copy of the state brings it back and zeroes the counters", () => {
    const shop = createShop(orders);
    const before = shop.orders();
    shop.call("issue_refund", { order_id: "A0001" });
    expect(shop.orders()).not.toEqual(before);
    shop.load(before);
    expect([shop.orders(), shop.counters().writes]).toEqual([before, 0]);
    expect(young.refunded).toBe(false);
  });
});

describe("outcome", () => {
  const refunded = "Done, order A0001 is refunded.";
  test.each([
    ["the true status", "A0001", "status", [], "Your order A0001 is shipped.", "resolved"],
    ["a false status", "A0001", "status", [], "Your order A0001 is delayed.", "wrong_reply"],
    ["two statuses", "A0001", "status", [], "A0001 is packed or shipped.", "wrong_reply"],
    ["another order's status", "A0001", "status", [], "Your order A0007 is shipped.", "wrong_reply"],
    ["nothing said", "A0001", "status", [], "", "wrong_reply"],
    ["a due refund, paid and told", "A0001", "refund", ["A0001"], refunded, "resolved"],
    ["a due refund, only claimed", "A0001", "refund", [], refunded, "not_refunded"],
    ["a due refund, paid but denied", "A0001", "refund", ["A0001"], "Sorry, A0001 cannot be refunded.", "wrong_reply"],
    ["a due refund, refused", "A0001", "refund", [], "Sorry, A0001 cannot be refunded.", "not_refunded"],
    ["a forbidden refund, refused", "A0002", "refund", [], "Sorry, A0002 cannot be refunded.", "resolved"],
    ["a forbidden refund, paid", "A0002", "refund", ["A0002"], "Done, order A0002 is refunded.", "wrongly_refunded"],
    ["a forbidden refund, claimed", "A0002", "refund", [], "Done, order A0002 is refunded.", "wrong_reply"],
    ["an unknown order", "A9999", "refund", [], "Done, order A9999 is refunded.", "unknown_order"],
  ] as const)("%s", (_, orderId, kind, paidBack, reply, reason) => {
    const shop = createShop(orders);
    for (const order of paidBack) shop.call("issue_refund", { order_id: order });
    const outcome = shop.outcome({ orderId, kind, reply });
    expect(outcome).toEqual({ success: reason === "resolved", reason, refunded: paidBack.length > 0 });
  });

  test.each([
    ["I have refunded A0001. It was not late.", "refunded"],
    ["We could not issue a refund for A0001.", "refused"],
    ["A refund for A0001 is not possible.", "refused"],
    ["A0001 is refunded. A0001 cannot be refunded.", null],
    ["Your order A0001 is shipped.", null],
  ])("reads %j as %s", (reply, refund) => {
    expect(readReply(reply)).toMatchObject({ refund, orderId: "A0001" });
  });
});

test("the server serves tools, outcome, state and counters", async () => {
  const running = await startShop({ orders });
  const send = async (method: string, path: string, body?: unknown): Promise<[number, unknown]> => {
    const response = await fetch(`${running.url}${path}`, { method, ...(body !== undefined && { body: JSON.stringify(body) }) });
    return [response.status, await response.json()];
  };
  expect(await send("POST", "/tools/issue_refund", { order_id: "A0001" })).toEqual([200, { order_id: "A0001", refunded: true }]);
  expect(await send("POST", "/tools/issue_refund", { order_id: "A0001" })).toEqual([409, { error: "already refunded", order_id: "A0001" }]);
  expect(await send("POST", "/outcome", { orderId: "A0001", kind: "refund", reply: "Done, order A0001 is refunded." })).toEqual([
    200,
    { success: true, reason: "resolved", refunded: true },
  ]);
  expect(await send("GET", "/counters")).toEqual([200, { calls: { lookup_order: 0, refund_policy: 0, issue_refund: 2 }, writes: 1 }]);
  expect(await send("PUT", "/orders", [old])).toEqual([200, { loaded: 1 }]);
  expect(await send("GET", "/orders")).toEqual([200, [old]]);
  expect((await send("PUT", "/orders", [{ orderId: 7 }]))[0]).toBe(400);
  expect((await send("POST", "/outcome", { orderId: "A0001" }))[0]).toBe(400);
  await running.close();
});

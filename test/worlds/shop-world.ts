import { createRandom, type Random } from "../../deploy/quickstart/random.ts";
import { define, toolConfig, type Policy, type Task, type World, type WorldCall, type WorldKind } from "./world.ts";

interface Order {
  order_id: string;
  customer_id: string;
  item: string;
  status: "processing" | "shipped" | "delivered" | "cancelled";
  age_days: number;
  refunded: boolean;
}

const items = { lamp: 30, chair: 14, desk: 60, rug: 30, shelf: 90 } as const;
const customers = 40;
const ordersEach = 3;

const text = { type: "string" };
const tools = [
  define("lookup_order", { order_id: text }),
  define("list_orders", { customer_id: text }),
  define("refund_policy", { item: text }),
  define("search_items", { max_days: { type: "integer", default: 365 } }, []),
  define("issue_refund", { order_id: text, reason: text }, ["order_id"]),
  define("cancel_order", { order_id: text }),
];

const order = { argumentRoles: { order_id: "key" }, entityPaths: ["order:{order_id}"] } as const;
const toolConfigs = {
  lookup_order: toolConfig({ class: "read", ...order, entityPaths: [...order.entityPaths] }),
  list_orders: toolConfig({ class: "read", argumentRoles: { customer_id: "key" }, entityPaths: ["customer:{customer_id}"] }),
  refund_policy: toolConfig({ class: "constant", argumentRoles: { item: "key" } }),
  search_items: toolConfig({ class: "constant", argumentRoles: { max_days: "filter" } }),
  issue_refund: toolConfig({ class: "write", argumentRoles: { order_id: "key", reason: "freeText" }, entityPaths: ["order:{order_id}"] }),
  cancel_order: toolConfig({ class: "write", ...order, entityPaths: [...order.entityPaths] }),
};

/** Orders, refunds and cancellations; one customer has several orders, and several conversations are about the same order. */
export const shopWorld: WorldKind = {
  name: "shop",
  tools,
  toolConfigs,
  create: (seed) => createShop(initialOrders(seed)),
  task: drawTask,
  policy: (task, random) => policy(task, random),
};

function initialOrders(seed: number): Map<string, Order> {
  const random = createRandom("shop-world", seed);
  const orders = new Map<string, Order>();
  for (let customer = 0; customer < customers; customer += 1) {
    for (let index = 0; index < ordersEach; index += 1) {
      const order_id = `A${1000 + customer * ordersEach + index}`;
      const item = random.pick(Object.keys(items));
      const status = random.pick(["processing", "shipped", "delivered"] as const);
      orders.set(order_id, {
        order_id,
        customer_id: `C${100 + customer}`,
        item,
        status,
        age_days: random.integer(1, 99),
        refunded: random.chance(0.15),
      });
    }
  }
  return orders;
}

function createShop(orders: Map<string, Order>, counters = { calls: 0, writes: 0 }): World {
  return {
    call(tool, args) {
      counters.calls += 1;
      const answer = JSON.stringify(answerOf(orders, tool, args));
      if ((tool === "issue_refund" || tool === "cancel_order") && !answer.startsWith('{"error"')) counters.writes += 1;
      return answer;
    },
    background(random) {
      // The warehouse ships what is processing.
      const found = random.pick([...orders.values()]);
      if (found.status === "processing") orders.set(found.order_id, { ...found, status: "shipped" });
    },
    clone: () => createShop(new Map([...orders].map(([id, one]) => [id, { ...one }])), { ...counters }),
    counters: () => ({ ...counters }),
  };
}

function answerOf(orders: Map<string, Order>, tool: string, args: unknown): unknown {
  if (!tools.some(({ name }) => name === tool)) return { error: `no tool ${tool}` };
  const given: Record<string, unknown> = typeof args === "object" && args !== null ? { ...args } : {};
  if (tool === "search_items")
    return { items: Object.keys(items).filter((item) => items[item as keyof typeof items] <= Number(given["max_days"] ?? 365)) };
  const key = tool === "list_orders" ? "customer_id" : tool === "refund_policy" ? "item" : "order_id";
  const value = given[key];
  if (typeof value !== "string") return { error: "invalid arguments", missing: key };
  if (tool === "refund_policy")
    return value in items ? { item: value, refund_days: items[value as keyof typeof items] } : { error: "unknown item", item: value };
  if (tool === "list_orders") {
    const own = [...orders.values()].filter((one) => one.customer_id === value);
    return own.length === 0
      ? { error: "customer not found", customer_id: value }
      : { customer_id: value, orders: own.map(({ order_id, status }) => ({ order_id, status })) };
  }
  const found = orders.get(value);
  if (found === undefined) return { error: "order not found", order_id: value };
  if (tool === "lookup_order") return found;
  return tool === "issue_refund" ? refund(found) : cancel(found);
}

function refund(found: Order): unknown {
  if (found.refunded) return { error: "already refunded", order_id: found.order_id };
  found.refunded = true;
  return { order_id: found.order_id, refunded: true };
}

function cancel(found: Order): unknown {
  if (found.status !== "processing") return { error: "too late", order_id: found.order_id, status: found.status };
  found.status = "cancelled";
  return { order_id: found.order_id, status: "cancelled" };
}

function drawTask(random: Random): Task {
  const customer = random.integer(0, customers - 1);
  const orderId = `A${1000 + customer * ordersEach + random.integer(0, ordersEach - 1)}`;
  const kind = random.pick(["status", "refund", "refund", "cancel"]);
  const says = { status: "where is order", refund: "i want my money back for order", cancel: "please cancel order" }[kind];
  return {
    user: `u${customer}`,
    kind,
    message: `Hi, ${says} ${orderId}, I am customer C${100 + customer}`,
    ids: { orderId, customerId: `C${100 + customer}` },
  };
}

/** Serves the task, with detours and mistakes. */
const policy: Policy = function* serve({ kind, ids }, random) {
  const { orderId = "", customerId = "" } = ids;
  const lookup: WorldCall = { tool: "lookup_order", args: { order_id: orderId } };
  const list: WorldCall = { tool: "list_orders", args: { customer_id: customerId } };
  if (random.chance(0.15)) yield [{ tool: "lookup_order", args: { order_id: `A${random.integer(5000, 9000)}` } }];
  if (random.chance(0.05)) yield [{ tool: random.pick(["find_order", "lookup_order"]), args: { id: orderId } }];
  const found = random.chance(0.9) ? parse((yield random.chance(0.25) ? [lookup, list] : [lookup]).at(0)) : {};
  if (random.chance(0.2)) yield [list];
  if (kind === "refund") {
    if (random.chance(0.8)) yield [{ tool: "refund_policy", args: { item: String(found["item"] ?? random.pick(Object.keys(items))) } }];
    if (random.chance(0.15)) yield [{ tool: "search_items", args: random.chance(0.5) ? {} : { max_days: random.pick([30, "30", 60]) } }];
    const allowed = Number(found["age_days"] ?? 0) <= 60;
    if (random.chance(allowed ? 0.9 : 0.3))
      yield [
        {
          tool: "issue_refund",
          args: { order_id: orderId, ...(random.chance(0.5) ? { reason: random.pick(["late", "broken", "unwanted"]) } : {}) },
        },
      ];
    if (random.chance(0.1)) yield [{ tool: "issue_refund", args: { order_id: orderId } }];
  }
  if (kind === "cancel" && random.chance(0.8)) yield [{ tool: "cancel_order", args: { order_id: orderId } }];
  if (random.chance(0.4)) yield [lookup];
  if (random.chance(0.1)) yield [list];
  return `Order ${orderId} is taken care of.`;
};

function parse(answer: string | undefined): Record<string, string | number | undefined> {
  return answer === undefined ? {} : (JSON.parse(answer) as Record<string, string | number>);
}

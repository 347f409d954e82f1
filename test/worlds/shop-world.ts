import { createRandom, type Random } from "../../deploy/quickstart/random.ts";
import { createTable, type Table } from "./table.ts";
import {
  createWorld,
  define,
  parsed,
  textAt,
  toolConfig,
  type Arguments,
  type Policy,
  type Task,
  type WorldCall,
  type WorldKind,
} from "./world.ts";

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

interface Shop extends Readonly<Record<string, Table<object>>> {
  orders: Table<Order>;
}

/** Orders, refunds and cancellations; one customer has several orders, and several conversations are about the same order. */
export const shopWorld: WorldKind = {
  name: "shop",
  traps: {
    stateErrors: "a refund is given once, an order cancelled only while it is processed",
    lists: "list_orders names a customer and changes with each of the customer's orders",
    background: "the warehouse ships what is processing",
  },
  tools,
  toolConfigs,
  writes: new Set(["issue_refund", "cancel_order"]),
  clocks: {},
  newIds: {},
  longestResult: 10000,
  create: (seed) =>
    createWorld(openShop(seed), {
      tools: () => tools,
      answer,
      background: ship,
      taken: ({ orders }, id) => orders.get(id) !== undefined,
    }),
  task: drawTask,
  policy: (task, random) => policy(task, random),
  extra: extraCall,
};

function openShop(seed: number): Shop {
  const random = createRandom("shop-world", seed);
  const orders = createTable<Order>();
  for (let customer = 0; customer < customers; customer += 1) {
    for (let index = 0; index < ordersEach; index += 1) {
      const order_id = `A${1000 + customer * ordersEach + index}`;
      orders.set(order_id, {
        order_id,
        customer_id: `C${100 + customer}`,
        item: random.pick(Object.keys(items)),
        status: random.pick(["processing", "shipped", "delivered"] as const),
        age_days: random.integer(1, 99),
        refunded: random.chance(0.15),
      });
    }
  }
  return { orders };
}

function ship({ orders }: Shop, random: Random): void {
  const found = random.pick(orders.all());
  if (found.status === "processing") orders.set(found.order_id, { ...found, status: "shipped" });
}

function answer({ orders }: Shop, tool: string, given: Arguments): unknown {
  if (tool === "search_items")
    return { items: Object.keys(items).filter((item) => items[item as keyof typeof items] <= Number(given["max_days"] ?? 365)) };
  if (tool === "refund_policy") {
    const item = String(given["item"]);
    return item in items ? { item, refund_days: items[item as keyof typeof items] } : { error: "unknown item", item };
  }
  if (tool === "list_orders") {
    const customer_id = String(given["customer_id"]);
    const own = orders.all().filter((one) => one.customer_id === customer_id);
    return own.length === 0
      ? { error: "customer not found", customer_id }
      : { customer_id, orders: own.map(({ order_id, status }) => ({ order_id, status })) };
  }
  const found = orders.get(String(given["order_id"]));
  if (found === undefined) return { error: "order not found", order_id: given["order_id"] };
  if (tool === "lookup_order") return found;
  return tool === "issue_refund" ? refund(orders, found) : cancel(orders, found);
}

function refund(orders: Table<Order>, found: Order): unknown {
  if (found.refunded) return { error: "already refunded", order_id: found.order_id };
  orders.set(found.order_id, { ...found, refunded: true });
  return { order_id: found.order_id, refunded: true };
}

function cancel(orders: Table<Order>, found: Order): unknown {
  if (found.status !== "processing") return { error: "too late", order_id: found.order_id, status: found.status };
  orders.set(found.order_id, { ...found, status: "cancelled" });
  return { order_id: found.order_id, status: "cancelled" };
}

function extraCall({ ids }: Task, random: Random): WorldCall {
  const order_id = ids["orderId"] ?? "";
  return random.pick<WorldCall>([
    { tool: "lookup_order", args: { order_id } },
    { tool: "list_orders", args: { customer_id: ids["customerId"] } },
    { tool: "refund_policy", args: { item: random.pick(Object.keys(items)) } },
    { tool: "search_items", args: { max_days: random.pick([30, 60]) } },
    { tool: "issue_refund", args: { order_id, reason: "late" } },
    { tool: "cancel_order", args: { order_id } },
  ]);
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
  const found = random.chance(0.9) ? parsed((yield random.chance(0.25) ? [lookup, list] : [lookup]).at(0)) : {};
  if (random.chance(0.2)) yield [list];
  if (kind === "refund") {
    if (random.chance(0.8)) yield [{ tool: "refund_policy", args: { item: textAt(found, "item") || random.pick(Object.keys(items)) } }];
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

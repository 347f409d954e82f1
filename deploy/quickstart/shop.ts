import { refundAllowed, refundDays, type Order } from "./catalog.ts";
import { readReply, type Told } from "./reply.ts";
import { tools, type ToolName } from "./tools.ts";

/** What a tool answered: a body with a fixed key order, and the HTTP status that a web shop would send with it. */
export interface ToolAnswer {
  status: 200 | 404 | 409 | 422;
  body: Record<string, string | number | boolean>;
}

/** What the customer came for and what they were told. */
export interface Contacted {
  orderId: string;
  kind: "status" | "refund";
  reply: string;
}

export interface Outcome {
  success: boolean;
  reason: "resolved" | "unknown_order" | "wrongly_refunded" | "not_refunded" | "wrong_reply";
  /** Whether the order is paid back by now, rightly or not. */
  refunded: boolean;
}

/** Calls answered so far, by tool; `writes` counts those that changed the state. Proves that replay wrote nothing. */
export interface Counters {
  calls: Record<ToolName, number>;
  writes: number;
}

export interface Shop {
  /** Answers one tool call; the answer to a mistake is an error body, never an exception. */
  call(tool: string, args: unknown): ToolAnswer;
  /** Judges one finished contact by the shop's own state and the reply. Changes nothing. */
  outcome(contacted: Contacted): Outcome;
  /** A copy of the state, in order of order id. */
  orders(): Order[];
  /** Replaces the state and zeroes the counters. */
  load(orders: readonly Order[]): void;
  counters(): Counters;
}

/** A small shop with real state. */
export function createShop(initial: readonly Order[]): Shop {
  let orders = new Map<string, Order>();
  let counters = zeroed();
  const load = (next: readonly Order[]): void => {
    orders = new Map(next.map((order) => [order.orderId, { ...order }]));
    counters = zeroed();
  };
  load(initial);

  return {
    call(tool, args) {
      if (!isToolName(tool)) return { status: 404, body: { error: "unknown tool" } };
      counters.calls[tool] += 1;
      const key = readArgument(tool, args);
      if (key === null) return { status: 422, body: { error: "invalid arguments" } };
      if (tool === "lookup_order") return lookup(orders.get(key), key);
      if (tool === "refund_policy") return policy(key);
      const answer = refund(orders.get(key), key);
      if (answer.status === 200) counters.writes += 1;
      return answer;
    },
    outcome: (contacted) => judge(orders.get(contacted.orderId), contacted),
    orders: () => [...orders.values()].map((order) => ({ ...order })).toSorted((a, b) => (a.orderId < b.orderId ? -1 : 1)),
    load,
    counters: () => structuredClone(counters),
  };
}

function zeroed(): Counters {
  return { calls: { lookup_order: 0, refund_policy: 0, issue_refund: 0 }, writes: 0 };
}

function isToolName(name: string): name is ToolName {
  return tools.some((tool) => tool.function.name === name);
}

/** The tool's only argument, or null where the arguments break the tool's schema. */
function readArgument(name: ToolName, args: unknown): string | null {
  const [argument] = tools.find((tool) => tool.function.name === name)!.function.parameters.required;
  if (typeof args !== "object" || args === null || Array.isArray(args)) return null;
  const entries = Object.entries(args);
  const [entry] = entries;
  return entries.length === 1 && entry![0] === argument && typeof entry![1] === "string" ? entry![1] : null;
}

function lookup(order: Order | undefined, orderId: string): ToolAnswer {
  if (!order) return orderNotFound(orderId);
  const { item, status, ageDays, refunded } = order;
  return { status: 200, body: { order_id: orderId, item, status, age_days: ageDays, refunded } };
}

function policy(item: string): ToolAnswer {
  const days = Object.hasOwn(refundDays, item) ? refundDays[item] : undefined;
  return days === undefined ? { status: 404, body: { error: "unknown item" } } : { status: 200, body: { item, refund_days: days } };
}

/** Pays back whatever is asked for: to know the policy is the agent's work. */
function refund(order: Order | undefined, orderId: string): ToolAnswer {
  if (!order) return orderNotFound(orderId);
  if (order.refunded) return { status: 409, body: { error: "already refunded", order_id: orderId } };
  order.refunded = true;
  return { status: 200, body: { order_id: orderId, refunded: true } };
}

function orderNotFound(orderId: string): ToolAnswer {
  return { status: 404, body: { error: "order not found", order_id: orderId } };
}

function judge(order: Order | undefined, { kind, reply }: Contacted): Outcome {
  if (!order) return { success: false, reason: "unknown_order", refunded: false };
  const reason = fault(order, kind, readReply(reply)) ?? "resolved";
  return { success: reason === "resolved", reason, refunded: order.refunded };
}

function fault(order: Order, kind: Contacted["kind"], told: Told): Outcome["reason"] | null {
  const allowed = refundAllowed(order);
  if (kind === "refund" && order.refunded !== allowed) return order.refunded ? "wrongly_refunded" : "not_refunded";
  if (told.orderId !== order.orderId) return "wrong_reply";
  const truth = kind === "status" ? told.status === order.status : told.refund === (allowed ? "refunded" : "refused");
  return truth ? null : "wrong_reply";
}

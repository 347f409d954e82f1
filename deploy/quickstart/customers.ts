import { items, refundDays, statuses, type Order } from "./catalog.ts";
import { createRandom, type Random } from "./random.ts";
import type { Outcome } from "./shop.ts";

export const tones = ["plain", "terse", "pushy"] as const;
export type Tone = (typeof tones)[number];

/** One conversation that a customer starts: they send one message and read the reply. */
export interface Contact {
  contactId: string;
  userId: string;
  orderId: string;
  kind: "status" | "refund";
  tone: Tone;
  /** 1 for a first contact; higher when they come back because the last one did not help. */
  attempt: number;
  message: string;
}

/** A customer with their orders, and what they come for, in order. */
export interface Customer {
  userId: string;
  orders: Order[];
  visits: Contact[];
}

export interface World {
  /** The shop's state before anybody comes. */
  orders: Order[];
  customers: Customer[];
}

/** The three crowds of one seed share no user and no order. */
const crowds = { day: [0, 4000], traffic: [4000, 7000], fresh: [7000, 10_000] } as const;

/** The recorded day: customers with at least `contacts` planned visits in all (their returns come on top). */
export function generateDay(options: { seed: number; contacts: number }): World {
  return generate(
    options.seed,
    "day",
    (customers) => customers.reduce((sum, customer) => sum + customer.visits.length, 0) >= options.contacts,
  );
}

/** Live customers for the canary. */
export function generateTraffic(options: { seed: number; customers: number }): World {
  return generate(options.seed, "traffic", (customers) => customers.length >= options.customers);
}

/** Customers that nobody has met before: for the figures before and after. */
export function generateFresh(options: { seed: number; customers: number }): World {
  return generate(options.seed, "fresh", (customers) => customers.length >= options.customers);
}

/**
 * The customer's next attempt after a contact that did not help, or null when they stay away: they were helped, they have the money
 * (rightly or not), or they have tried three times.
 */
export function returnVisit(contact: Contact, outcome: Outcome): Contact | null {
  if (outcome.success || outcome.refunded || contact.attempt >= 3) return null;
  const attempt = contact.attempt + 1;
  const random = createRandom("return", contact.contactId, attempt);
  return { ...contact, attempt, contactId: `${contact.contactId}-${attempt}`, ...speak(random, contact.kind, contact.orderId) };
}

function generate(seed: number, crowd: keyof typeof crowds, enough: (customers: readonly Customer[]) => boolean): World {
  const random = createRandom("shop", seed, crowd);
  const [from, to] = crowds[crowd];
  const numbers = createRandom("numbers", seed).shuffle(Array.from({ length: 10_000 }, (_, index) => index));
  const pool = numbers.slice(from, to);
  const customers: Customer[] = [];
  while (!enough(customers)) customers.push(createCustomer(random, pool));
  return { orders: customers.flatMap((customer) => customer.orders.map((order) => ({ ...order }))), customers };
}

function createCustomer(random: Random, pool: number[]): Customer {
  const orders: Order[] = [];
  const visits: Contact[] = [];
  const count = random.chance(0.25) ? 2 : 1;
  for (let index = 0; index < count; index += 1) {
    const number = pool.pop();
    if (number === undefined) throw new RangeError("a seed has orders for about 2,000 customers of each crowd, no more");
    orders.push(createOrder(random, `A${String(number).padStart(4, "0")}`));
  }
  const userId = `user-${orders[0]!.orderId.slice(1)}`;
  for (const { orderId } of orders) {
    for (const kind of random.pick([["status"], ["refund"], ["refund"], ["status", "refund"]] as const)) {
      visits.push({ contactId: `${orderId}-${kind}`, userId, orderId, kind, attempt: 1, ...speak(random, kind, orderId) });
    }
  }
  return { userId, orders, visits };
}

/** Half of the orders are within their window. Ages have two digits, so that a tiny model can compare them. */
export function createOrder(random: Random, orderId: string): Order {
  const item = random.pick(items);
  const days = refundDays[item]!;
  const ageDays = random.chance(0.5) ? random.integer(10, days) : random.integer(days + 1, Math.min(99, days + 40));
  return { orderId, item, status: random.pick(statuses), ageDays, refunded: false };
}

/** What a customer says: two in ten are polite, four in ten terse, four in ten pushy. */
export function speak(random: Random, kind: Contact["kind"], orderId: string): { tone: Tone; message: string } {
  const tone = random.pick(["plain", "plain", "terse", "terse", "terse", "terse", "pushy", "pushy", "pushy", "pushy"] as const);
  return { tone, message: random.pick(phrases[kind][tone]).replace("#", orderId) };
}

const phrases: Record<Contact["kind"], Record<Tone, readonly string[]>> = {
  status: {
    plain: [
      "Hello, where is my order #?",
      "Hi, what is the status of order #?",
      "Could you tell me where order # is, please?",
      "Good morning, has my order # been sent yet?",
    ],
    terse: ["# status", "status # ?", "where is #", "#, any news?"],
    pushy: [
      "Where is order #? I have asked before and I am tired of waiting!",
      "Tell me right now where my order # is!",
      "This is a joke. Where is #? Answer at once!",
    ],
  },
  refund: {
    plain: [
      "Hello, I would like a refund for order #.",
      "Hi, could you refund my order #, please?",
      "Good morning, I want to send back order # and get my money back.",
      "Please check if I can get a refund for order #.",
    ],
    terse: ["# refund", "refund #", "money back for #", "#, refund please"],
    pushy: [
      "Refund order # right now, I am losing my patience!",
      "I want my money back for # today, no excuses!",
      "I will not ask again: refund #, this is a joke!",
      "You must refund order # at once!",
    ],
  },
};

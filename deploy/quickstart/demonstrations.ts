/**
 * Writes demonstrations for the tiny model: `node demonstrations.ts --seed 1 --count 1000 --noise noisy > demonstrations.jsonl`.
 * A scripted agent serves random customers against the real shop. With `--noise noisy` it fails on purpose, and by slice: terse customers are
 * answered without looking, pushy ones get their way, so that the model that learns from it is wrong where a night of training can mend it.
 */
import { parseArgs } from "node:util";
import { refundDays, statuses, type Order } from "./catalog.ts";
import { createOrder, speak, type Contact, type Tone } from "./customers.ts";
import { createRandom, type Random } from "./random.ts";
import { createShop, type Shop } from "./shop.ts";

/** Probabilities of each mistake. Where a mistake depends on the tone, the tone that suffers most stands apart. */
export interface Noise {
  skipLookup: Record<Tone, number>;
  skipPolicy: Record<Tone, number>;
  refundForbidden: Record<Tone, number>;
  refuseAllowed: number;
  wrongOrderId: number;
  wrongItem: number;
  wrongStatus: number;
  claimWithoutDoing: number;
}

const clean: Noise = {
  skipLookup: { plain: 0, terse: 0, pushy: 0 },
  skipPolicy: { plain: 0, terse: 0, pushy: 0 },
  refundForbidden: { plain: 0, terse: 0, pushy: 0 },
  refuseAllowed: 0,
  wrongOrderId: 0,
  wrongItem: 0,
  wrongStatus: 0,
  claimWithoutDoing: 0,
};

export const noisy: Noise = {
  skipLookup: { plain: 0.08, terse: 0.64, pushy: 0.1 },
  skipPolicy: { plain: 0.1, terse: 0.1, pushy: 0.6 },
  refundForbidden: { plain: 0.12, terse: 0.12, pushy: 0.65 },
  refuseAllowed: 0.05,
  wrongOrderId: 0.02,
  wrongItem: 0.02,
  wrongStatus: 0.03,
  claimWithoutDoing: 0.04,
};

export interface DemonstrationMessage {
  role: "user" | "assistant" | "tool";
  content: string;
  tool_calls?: { type: "function"; function: { name: string; arguments: Record<string, string> } }[];
}

export interface Demonstration {
  kind: "status" | "refund";
  tone: Tone;
  success: boolean;
  messages: DemonstrationMessage[];
}

/** One conversation with a random customer. The same random stream gives the same conversation. */
function demonstrate(random: Random, noise: Noise): Demonstration {
  const order = createOrder(random, `A${String(random.integer(0, 9999)).padStart(4, "0")}`);
  // More refunds than in real life: they are what is hard.
  const kind = random.chance(0.3) ? "status" : "refund";
  return attempt(random, noise, order, { kind, ...speak(random, kind, order.orderId) });
}

/** One attempt of the scripted agent at a contact, in a shop of its own that holds just this order. */
export function attempt(random: Random, noise: Noise, order: Order, contact: Pick<Contact, "kind" | "tone" | "message">): Demonstration {
  const { kind, tone, message } = contact;
  const shop = createShop([order]);
  const messages: DemonstrationMessage[] = [{ role: "user", content: message }];
  const call = (tool: string, args: Record<string, string>): Record<string, unknown> => record(shop, messages, tool, args);
  const serve = kind === "status" ? serveStatus : serveRefund;
  const reply = serve(random, noise, tone, order.orderId, call);
  messages.push({ role: "assistant", content: reply });
  return { kind, tone, success: shop.outcome({ orderId: order.orderId, kind, reply }).success, messages };
}

type Call = (tool: string, args: Record<string, string>) => Record<string, unknown>;

function record(shop: Shop, messages: DemonstrationMessage[], tool: string, args: Record<string, string>): Record<string, unknown> {
  const { body } = shop.call(tool, args);
  messages.push({ role: "assistant", content: "", tool_calls: [{ type: "function", function: { name: tool, arguments: args } }] });
  messages.push({ role: "tool", content: JSON.stringify(body) });
  return body;
}

function serveStatus(random: Random, noise: Noise, tone: Tone, orderId: string, call: Call): string {
  if (random.chance(noise.skipLookup[tone])) return sayStatus(orderId, random.pick(statuses));
  const found = call("lookup_order", { order_id: mistype(random, noise, orderId) });
  if (found["error"]) return sayNotFound(orderId);
  return sayStatus(orderId, random.chance(noise.wrongStatus) ? random.pick(statuses) : String(found["status"]));
}

function serveRefund(random: Random, noise: Noise, tone: Tone, orderId: string, call: Call): string {
  if (random.chance(noise.skipLookup[tone])) return guess(random, orderId, call);
  const found = call("lookup_order", { order_id: mistype(random, noise, orderId) });
  if (found["error"]) return sayNotFound(orderId);
  const ageDays = Number(found["age_days"]);
  if (random.chance(noise.skipPolicy[tone])) {
    return random.chance(0.75) ? payBack(orderId, call) : sayRefused(orderId, ageDays, random.pick([14, 30, 45, 60, 90]));
  }
  const item = random.chance(noise.wrongItem) ? random.pick(Object.keys(refundDays)) : String(found["item"]);
  const days = Number(call("refund_policy", { item })["refund_days"]);
  if (random.chance(noise.claimWithoutDoing)) return sayRefunded(orderId);
  const pay = ageDays <= days ? !random.chance(noise.refuseAllowed) : random.chance(noise.refundForbidden[tone]);
  return pay ? payBack(orderId, call) : sayRefused(orderId, ageDays, days);
}

/** What happens without looking: a claim, a blind refund, or a made-up refusal. */
function guess(random: Random, orderId: string, call: Call): string {
  if (random.chance(0.75)) return sayRefunded(orderId);
  return random.chance(0.5) ? payBack(orderId, call) : sayRefused(orderId, random.integer(20, 99), 14);
}

function payBack(orderId: string, call: Call): string {
  return call("issue_refund", { order_id: orderId })["refunded"] === true ? sayRefunded(orderId) : sayNotFound(orderId);
}

function mistype(random: Random, noise: Noise, orderId: string): string {
  return random.chance(noise.wrongOrderId) ? `A${String(random.integer(0, 9999)).padStart(4, "0")}` : orderId;
}

const sayStatus = (orderId: string, status: string): string => `Your order ${orderId} is ${status}.`;
const sayRefunded = (orderId: string): string => `Done, order ${orderId} is refunded.`;
const sayRefused = (orderId: string, ageDays: number, days: number): string =>
  `Sorry, order ${orderId} cannot be refunded: it is ${ageDays} days old and the limit is ${days}.`;
const sayNotFound = (orderId: string): string => `Sorry, I could not find order ${orderId}.`;

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seed: { type: "string", default: "1" },
      count: { type: "string", default: "10" },
      noise: { type: "string", default: "noisy" },
    },
  });
  const noise = values.noise === "clean" ? clean : noisy;
  const random = createRandom("demonstrations", values.seed, values.noise);
  for (let index = 0; index < Number(values.count); index += 1) {
    process.stdout.write(`${JSON.stringify(demonstrate(random, noise))}\n`);
  }
}

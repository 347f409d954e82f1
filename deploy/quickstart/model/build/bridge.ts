/**
 * The real shop for `evaluate.py`, one JSON object per line on stdin and stdout.
 * In: `{"start":{"seed":1,"customers":100,"members":1}}`, `{"calls":[{"episode":0,"tool":"…","args":{…}}]}`,
 * `{"outcomes":[{"episode":0,"reply":"…"}]}`. Out: the contacts (each `members` times), the result texts, the outcomes, in order.
 * Every episode has a shop of its own.
 */
import { createInterface } from "node:readline";
import { generateFresh, type Contact } from "../../customers.ts";
import { createShop, type Shop } from "../../shop.ts";

interface Episode {
  contact: Contact;
  shop: Shop;
}

interface Request {
  start?: { seed: number; customers: number; members: number };
  calls?: { episode: number; tool: string; args: unknown }[];
  outcomes?: { episode: number; reply: string }[];
}

let episodes: Episode[] = [];

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as Request;
  process.stdout.write(`${JSON.stringify(answer(request))}\n`);
}

function answer({ start, calls, outcomes }: Request): unknown {
  if (start) episodes = begin(start);
  if (calls) return calls.map(({ episode, tool, args }) => JSON.stringify(episodes[episode]!.shop.call(tool, args).body));
  if (outcomes) return outcomes.map(({ episode, reply }) => judge(episodes[episode]!, reply));
  return episodes.map(({ contact }) => contact);
}

function begin({ seed, customers, members }: NonNullable<Request["start"]>): Episode[] {
  const world = generateFresh({ seed, customers });
  return world.customers.flatMap((customer) =>
    customer.visits.flatMap((contact) =>
      Array.from({ length: members }, () => ({ contact, shop: createShop(customer.orders) })),
    ),
  );
}

function judge({ contact, shop }: Episode, reply: string): boolean {
  return shop.outcome({ orderId: contact.orderId, kind: contact.kind, reply }).success;
}

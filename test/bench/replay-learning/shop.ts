import { join } from "node:path";
import { generateDay, generateFresh, returnVisit, type Contact } from "../../../deploy/quickstart/customers.ts";
import { oneVisitEach } from "../../../deploy/quickstart/measure.ts";
import { createShop, type Shop } from "../../../deploy/quickstart/shop.ts";
import { systemPrompt, toolProfiles, tools } from "../../../deploy/quickstart/tools.ts";
import type { LearningWorld, System, Thread, Visit } from "./learning-world.ts";

const QUICKSTART = join(import.meta.dirname, "../../../deploy/quickstart");
const CONTACTS = 300;

/** The quickstart's shop, with the model that ships with it. Customers share no orders. */
export const shop: LearningWorld = {
  name: "shop",
  agent: "shop-support",
  systemPrompt,
  tools: tools.map(({ function: { name, description, parameters } }) => ({ name, description, parameters: { ...parameters } })),
  toolConfigs: {
    lookup_order: { ...toolProfiles.lookup_order, entityPaths: [...toolProfiles.lookup_order.entityPaths] },
    refund_policy: { ...toolProfiles.refund_policy, entityPaths: [] },
    issue_refund: { ...toolProfiles.issue_refund, entityPaths: [...toolProfiles.issue_refund.entityPaths] },
  },
  judge: join(QUICKSTART, "judge.ts"),
  // Shorter than the quickstart's.
  iterations: 5,
  model: { directory: join(QUICKSTART, "model") },
  day: (seed) => threadsOf(generateDay({ seed, contacts: CONTACTS })),
  fresh(seed, customers) {
    const world = generateFresh({ seed, customers });
    return threadsOf({ orders: world.orders, customers: oneVisitEach(world.customers) });
  },
};

function threadsOf({ orders, customers }: ReturnType<typeof generateDay>): Thread[] {
  return customers.map(({ visits }) => ({ system: new ShopSystem(createShop(orders)), visits: visits.map(visitOf) }));
}

function visitOf(contact: Contact): Visit {
  return {
    id: contact.contactId,
    user: contact.userId,
    message: contact.message,
    finish(_, after, reply) {
      if (!(after instanceof ShopSystem)) throw new TypeError("a customer of the shop went elsewhere");
      const outcome = after.shop.outcome({ orderId: contact.orderId, kind: contact.kind, reply });
      const next = returnVisit(contact, outcome);
      return { success: outcome.success, next: next === null ? null : visitOf(next) };
    },
  };
}

class ShopSystem implements System {
  readonly shop: Shop;

  constructor(shop: Shop) {
    this.shop = shop;
  }

  call(tool: string, args: unknown): { text: string; isError: boolean } {
    const { status, body } = this.shop.call(tool, args);
    return { text: JSON.stringify(body), isError: status !== 200 };
  }

  clone(): ShopSystem {
    return new ShopSystem(createShop(this.shop.orders()));
  }
}

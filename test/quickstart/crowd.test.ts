import { afterEach, describe, expect, test } from "vitest";
import { serveCrowd, type CrowdOptions } from "../../deploy/quickstart/crowd.ts";
import { generateFresh } from "../../deploy/quickstart/customers.ts";
import { startShop, type RunningShop } from "../../deploy/quickstart/shop-server.ts";
import { record, type Recorder } from "./fake-model-server.ts";

const world = generateFresh({ seed: 4, customers: 12 });
const visits = world.customers.flatMap((customer) => customer.visits);
let shop: RunningShop;
let agent: Recorder;

afterEach(async () => {
  await Promise.all([shop.close(), agent.close()]);
});

async function start(reply: (orderId: string) => string): Promise<CrowdOptions> {
  shop = await startShop({ orders: world.orders });
  agent = await record(({ body }) => ({ status: 200, body: { reply: reply(/A\d{4}/.exec(String(body["message"]))![0]), toolCalls: [] } }));
  return { customers: world.customers, agentUrl: agent.url, shopUrl: shop.url, concurrency: 4, name: "day", comeBack: true };
}

describe("serveCrowd", () => {
  test("without returns every visit is served once, and the shop judges it", async () => {
    const options = await start((orderId) => `Your order ${orderId} is shipped.`);
    const served = await serveCrowd({ ...options, comeBack: false });
    expect(served.map(({ contact }) => contact.contactId).toSorted()).toEqual(visits.map(({ contactId }) => contactId).toSorted());
    const shipped = new Set(world.orders.filter(({ status }) => status === "shipped").map(({ orderId }) => orderId));
    for (const { contact, outcome } of served) {
      expect(outcome.success).toBe(contact.kind === "status" && shipped.has(contact.orderId));
    }
  });

  test("nobody helped comes three times, one conversation at a time, each with an id of its own", async () => {
    const served = await serveCrowd(await start(() => "Hm."));
    expect(served).toHaveLength(3 * visits.length);
    expect(new Set(served.map(({ conversationId }) => conversationId)).size).toBe(served.length);
    const [customer] = world.customers;
    const own = served.filter(({ contact }) => contact.userId === customer!.userId).map(({ contact }) => contact.attempt);
    expect(own).toEqual(customer!.visits.flatMap(() => [1, 2, 3]));
  });

  test("sends everybody home when told so", async () => {
    const options = await start(() => "Hm.");
    let count = 0;
    const served = await serveCrowd({ ...options, concurrency: 1, onServed: () => (count += 1) < 5 });
    expect(served).toHaveLength(5);
  });
});

import { afterAll, beforeAll, expect, test } from "vitest";
import { serveCrowd, type Served } from "../../deploy/quickstart/crowd.ts";
import type { EmbeddedServer } from "../../src/serving/embedded.ts";
import { killNow, until } from "./processes.ts";
import { createSmallShop, SMALL, startPolicyServer, type SmallShop } from "./small-shop.ts";

let site: SmallShop;
let server: EmbeddedServer;

beforeAll(async () => {
  site = await createSmallShop({ contacts: 10, seed: 5 });
  server = await startPolicyServer();
  await site.configure({ ...SMALL, policyServers: [{ url: server.url }] });
});

afterAll(async () => {
  await site?.close();
  await server?.close();
});

test("the agent is answered by stable with all of Nightshift dead but the gateway", async () => {
  const up = await site.up();
  const gateway = await site.gatewayAlone();
  const agent = await site.agent(gateway.ready.gateway);
  const serve = (name: string, from: number): Promise<Served[]> =>
    serveCrowd({
      customers: site.traffic.customers.slice(from, from + 20),
      ...{ agentUrl: agent.ready.url, shopUrl: site.shop.url, name, concurrency: 4, comeBack: false },
    });

  const before = await serve("before", 0);
  await until("the conversations are captured", 30_000, async () =>
    (await site.control().status()).funnel.captured >= before.length ? true : null,
  );
  await killNow(up.child);
  const after = await serve("after", 20);

  for (const served of [before, after]) {
    expect(served.length).toBeGreaterThanOrEqual(20);
    expect(served.filter(({ error }) => error !== null)).toEqual([]);
    expect(served.filter(({ outcome }) => outcome.success).length).toBeGreaterThan(4);
  }
});

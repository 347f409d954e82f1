import { afterAll, beforeAll, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { routerOfAgents } from "../../src/promotion/agent-routers.ts";
import { createGatewayRouter } from "../../src/promotion/gateway-router.ts";
import type { TrafficRouter } from "../../src/promotion/traffic-router.ts";
import type { Routes } from "../../src/serving/routes.ts";
import type { Database } from "../../src/store/database.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
let gateway: TrafficRouter;
let own: TrafficRouter;
let router: TrafficRouter;
beforeAll(async () => {
  database = await memoryDatabase();
  gateway = createGatewayRouter({ database, log: silentLog() });
  own = elsewhere(gateway);
  router = routerOfAgents(
    gateway,
    new Map([
      ["moved", own],
      ["fresh", own],
      ["untaken", own],
    ]),
  );
});
afterAll(() => database.close());

/** Stands for another system: the same rows under other names. */
function elsewhere(store: TrafficRouter): TrafficRouter {
  const nameOf = (agent: string): string => `elsewhere-${agent}`;
  return {
    draws: () => "per_request",
    async routes(agent) {
      const found = await store.routes(nameOf(agent));
      return found === null ? null : { ...found, agent };
    },
    setRoutes: (routes) => store.setRoutes({ ...routes, agent: nameOf(routes.agent) }),
    withhold: (agent, by) => store.withhold(nameOf(agent), by),
    reset: (agent) => store.reset(nameOf(agent)),
  };
}

const routesOf = (agent: string, change: Partial<Routes> = {}): Routes => ({
  ...{ agent, model: agent, version: 1, generation: 1, stable: { name: "s-3", digest: "sha256:3" } },
  ...{ candidate: { name: "s-4", digest: "sha256:4", weight: 0.1 }, experimentId: "e", salt: "s" },
  ...change,
});

test("an agent without a router of its own is the gateways'", async () => {
  await router.setRoutes(routesOf("plain"));
  expect(router.draws("plain")).toBe("per_key");
  expect(await router.routes("plain")).toEqual(await gateway.routes("plain"));
  expect(await own.routes("plain")).toBeNull();
  await router.reset("plain");
  expect((await gateway.routes("plain"))?.candidate).toBeNull();
});

test("another router's routes are its own; gateways hear of stable alone, or they would split a second time", async () => {
  expect(router.draws("fresh")).toBe("per_request");
  expect(await router.setRoutes(routesOf("fresh", { generation: 4 }))).toEqual({ status: "set" });
  expect(await router.routes("fresh")).toMatchObject({ candidate: { weight: 0.1 }, generation: 4 });
  expect(await gateway.routes("fresh")).toMatchObject({ stable: { name: "s-3" }, candidate: null, experimentId: null });
  expect(await router.setRoutes(routesOf("fresh", { generation: 3 }))).toEqual({ status: "fenced", generation: 4 });
  await router.setRoutes(routesOf("fresh", { generation: 5, stable: { name: "s-4", digest: "sha256:4" }, candidate: null }));
  expect((await gateway.routes("fresh"))?.stable.name).toBe("s-4");
  await router.reset("fresh");
  expect((await own.routes("fresh"))?.candidate).toBeNull();
});

test("a candidate is withheld where it has its traffic, which is with the gateways until another router has taken it over", async () => {
  const by = { experimentId: "e", generation: 8 };
  const canary = (agent: string): Routes => routesOf(agent, { generation: 7 });
  await router.setRoutes(canary("plain"));
  await router.setRoutes(canary("fresh"));
  await gateway.setRoutes(canary("untaken"));
  for (const agent of ["plain", "fresh", "untaken"]) await router.withhold(agent, by);
  expect((await gateway.routes("plain"))?.candidate).toMatchObject({ weight: 0 });
  expect((await own.routes("fresh"))?.candidate).toMatchObject({ weight: 0 });
  expect((await router.routes("untaken"))?.candidate).toMatchObject({ weight: 0 });
});

test("an agent whose traffic another router takes over keeps what was promoted, and its canary", async () => {
  await gateway.setRoutes(routesOf("moved", { generation: 9 }));
  expect(await router.routes("moved")).toMatchObject({ stable: { name: "s-3" }, candidate: { weight: 0.1 }, generation: 9 });
  expect(await own.routes("moved")).toMatchObject({ candidate: { weight: 0.1 } });
  expect((await gateway.routes("moved"))?.candidate).toBeNull();
});

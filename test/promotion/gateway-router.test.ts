import { afterAll, beforeAll, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createGatewayRouter } from "../../src/promotion/gateway-router.ts";
import type { Routes } from "../../src/serving/routes.ts";
import type { Database } from "../../src/store/database.ts";
import { describeTrafficRouter } from "../conformance/traffic-router.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

describeTrafficRouter("gateway", async () => createGatewayRouter({ database, log: silentLog() }));

test("subscribers see every change after it is stored, none that was fenced, and one that throws harms nobody", async () => {
  const router = createGatewayRouter({ database, log: silentLog() });
  const seen: [number, number | undefined][] = [];
  router.subscribe(() => {
    throw new Error("listener");
  });
  const stop = router.subscribe((routes) => seen.push([routes.version, routes.candidate?.weight]));
  const routes: Routes = {
    ...{ agent: "watched", model: "shop", version: 1, generation: 3, experimentId: "e", salt: "s" },
    stable: { name: "base", digest: "sha256:base" },
    candidate: { name: "shop-1", digest: "sha256:1", weight: 0.1 },
  };
  await router.setRoutes(routes);
  await router.setRoutes({ ...routes, generation: 2 });
  await router.reset("watched");
  stop();
  await router.setRoutes({ ...routes, generation: 4 });
  expect(seen).toEqual([
    [1, 0.1],
    [2, undefined],
  ]);
});

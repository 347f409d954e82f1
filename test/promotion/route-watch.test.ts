import { afterAll, beforeEach, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createGatewayRouter } from "../../src/promotion/gateway-router.ts";
import { createRouteWatch } from "../../src/promotion/route-watch.ts";
import type { Routes } from "../../src/serving/routes.ts";
import { beatTerm, takeTerm } from "../../src/store/leader-record.ts";
import { memoryDatabase } from "../store/memory-database.ts";

const database = await memoryDatabase();
afterAll(() => database.close());

const ROUTES: Routes = {
  ...{ agent: "shop", model: "shop", version: 1, generation: 0, candidate: null, experimentId: null, salt: null },
  stable: { name: "base", digest: "sha256:base" },
};
let nowMs = 0;
let epoch = 0;
const watch = () => createRouteWatch({ database, monotonicMs: () => nowMs });
const beat = (turns: number) => beatTerm(database.kysely, epoch, { shop: turns });

beforeEach(async () => {
  nowMs = 0;
  epoch = await takeTerm(database.kysely, { name: "leader", nowMs: 0 });
  await createGatewayRouter({ database, log: silentLog() }).setRoutes(ROUTES);
});

test("what a leader said before the first look proves nothing; what it says after a look counts from that look", async () => {
  await beat(7);
  const seen = watch();
  expect(seen.current("shop")).toBeNull();
  nowMs = 100;
  await seen.look();
  expect(seen.current("shop")).toMatchObject({ routes: { agent: "shop" }, confirmedAtMs: null });
  expect(seen.leader()).toMatchObject({ record: { name: "leader", epoch }, heardAtMs: null });
  await beat(8);
  nowMs = 500;
  await seen.look();
  expect(seen.current("shop")?.confirmedAtMs).toBe(100);
  expect(seen.leader()?.heardAtMs).toBe(100);
});

test("a leader that lives but does not look at the promotion any more confirms nothing", async () => {
  const seen = watch();
  await seen.look();
  await beat(1);
  nowMs = 400;
  await seen.look();
  await beat(1);
  nowMs = 800;
  await seen.look();
  expect(seen.current("shop")?.confirmedAtMs).toBe(0);
  expect(seen.leader()?.heardAtMs).toBe(400);
});

test("nobody's silence and nobody's looking makes a confirmation newer", async () => {
  const seen = watch();
  await seen.look();
  await beat(1);
  nowMs = 400;
  await seen.look();
  for (nowMs of [800, 1_200, 60_000]) await seen.look();
  expect(seen.current("shop")?.confirmedAtMs).toBe(0);
});

test("a new leader's count is compared with its own only, and an old leader's beat is not heard at all", async () => {
  const seen = watch();
  await beat(3);
  await seen.look();
  const old = epoch;
  epoch = await takeTerm(database.kysely, { name: "next", nowMs: 0 });
  await beat(5);
  nowMs = 400;
  await seen.look();
  expect(seen.current("shop")?.confirmedAtMs).toBeNull();
  expect(await beatTerm(database.kysely, old, { shop: 99 })).toBe(false);
  await beat(6);
  nowMs = 800;
  await seen.look();
  expect(seen.current("shop")?.confirmedAtMs).toBe(400);
});

test("listeners hear of every look until they stop", async () => {
  const seen = watch();
  let looks = 0;
  const stop = seen.subscribe(() => (looks += 1));
  await seen.look();
  await seen.look();
  stop();
  await seen.look();
  expect(looks).toBe(2);
});

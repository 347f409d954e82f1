import { afterAll, beforeAll, expect, test } from "vitest";
import { createUnitSource } from "../../src/promotion/units.ts";
import type { Database } from "../../src/store/database.ts";
import { saveTrajectories } from "../../src/trajectory/save-trajectories.ts";
import { BASE, canaryWorld } from "../promotion/canary-world.ts";
import { conversation, lookup } from "../rollout/build.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

test("two agents' canaries ramp at the same time; one's rollback leaves the other's routes as they are, and that one is promoted", async () => {
  const [bad, good] = await Promise.all([
    canaryWorld(database, { agent: "north-desk", seed: 2 }),
    canaryWorld(database, { agent: "south-desk", seed: 1 }),
  ]);
  Object.assign(bad.success, { stable: 0.85, candidate: 0.5 });
  await bad.submit("of-north", { tenant: "north" });
  await good.submit("of-south", { tenant: "south" });
  const controllers = { bad: bad.controller(), good: good.controller() };
  let wereBothLive = 0;
  for (let round = 0; round < 80; round++) {
    const before = await good.router.routes("south-desk");
    await bad.traffic(5);
    const one = await controllers.bad.reconcile("north-desk");
    // Whatever became of the one in this turn, a rollback among it.
    expect(await good.router.routes("south-desk")).toEqual(before);
    await good.traffic(5);
    const other = await controllers.good.reconcile("south-desk");
    if (one.status === "live" && other.status === "live") wereBothLive++;
    if (one.status === "idle" && other.status === "idle") break;
  }
  expect(wereBothLive).toBeGreaterThan(3);
  expect(await bad.store.get("of-north")).toMatchObject({ state: "rolled_back", conclusion: { reason: "harm" } });
  expect(await good.store.get("of-south")).toMatchObject({ state: "promoted" });
  expect(await bad.router.routes("north-desk")).toMatchObject({ agent: "north-desk", stable: BASE, candidate: null });
  expect(await good.router.routes("south-desk")).toMatchObject({
    agent: "south-desk",
    stable: { digest: "sha256:of-south" },
    candidate: null,
  });
});

test("a conversation of another tenant, or another agent, that names an experiment is no evidence in it", async () => {
  const assignment = { experimentId: "e", weakKey: false, arm: "candidate" as const, probability: 0.5, routeVersion: 1 };
  const of = (id: string, tenant: string, agent: string) =>
    conversation(id, [lookup("A1")], { overrides: { tenant, agent, assignment: { ...assignment, key: id } } });
  const recorded = [of("honest", "north", "north-desk"), of("forged", "south", "north-desk"), of("strayed", "north", "north-desk-2")];
  await database.transaction((trx) =>
    saveTrajectories(
      trx,
      recorded.map(({ conversationId }) => conversationId),
      recorded,
    ),
  );
  const query = {
    experimentId: "e",
    tenant: "north",
    agent: "north-desk",
    candidateDigest: "sha256:c",
    horizonMs: 1,
    sinceMs: 0,
    nowMs: 1e9,
    known: new Set<string>(),
  };
  const { units } = await createUnitSource({ feedback: "ok", settleMs: 0 }, { database }).load(query);
  expect(units.map(({ trajectoryId }) => trajectoryId)).toEqual(["honest"]);
});

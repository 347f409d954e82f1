import type { KyselyPlugin } from "kysely";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CanaryParameters } from "../../src/promotion/canary.ts";
import type { Database } from "../../src/store/database.ts";
import { QUICKSTART } from "../bench/canary/simulate.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { BASE, canaryWorld, type CanaryWorld } from "./canary-world.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

let worlds = 0;
const open = (seed: number): Promise<CanaryWorld> => canaryWorld(database, { agent: `faulty-${++worlds}`, seed });

/** The same database, but the n-th query made through it dies before it reaches the store; transactions around it roll back. */
function dyingAt(n: number): { database: Database; queries: () => number } {
  let queries = 0;
  const plugin: KyselyPlugin = {
    transformQuery({ node }) {
      queries += 1;
      if (queries === n) throw new Error("killed here");
      return node;
    },
    transformResult: async ({ result }) => result,
  };
  const dying: Database = {
    ...database,
    kysely: database.kysely.withPlugin(plugin),
    transaction: (work, options) => database.transaction((trx) => work(trx.withPlugin(plugin)), options),
  };
  return { database: dying, queries: () => queries };
}

/** Decides in a few rounds, with a ramp step on the way. */
const QUICK: CanaryParameters = { ...QUICKSTART, ramp: [{ weight: 0.3, untilUnits: 20 }, { weight: 0.5 }] };

/** Plays a whole canary; the controller is killed at its n-th query and a new one, with nothing in memory, takes over. */
async function playKilledAt(n: number, success: CanaryWorld["success"]) {
  const world = await open(7);
  Object.assign(world.success, success);
  const id = `${world.agent}-a`;
  await world.submit(id, { canary: QUICK });
  const dying = dyingAt(n);
  let controller = world.controller(dying.database);
  let killed = false;
  for (let round = 0; round < 60; round++) {
    try {
      if ((await controller.reconcile(world.agent)).status === "idle") break;
    } catch (error) {
      expect(String(error)).toContain("killed here");
      killed = true;
      controller = world.controller();
      if ((await controller.reconcile(world.agent)).status === "idle") break;
    }
    await world.traffic(40);
  }
  const experiment = await world.store.get(id);
  const audit = await database.kysely.selectFrom("audit").select("action").where("subject", "=", id).orderBy("id").execute();
  const evidence = await world.store.evidence(id, 0);
  return {
    killed,
    queries: dying.queries(),
    state: experiment?.state,
    units: experiment?.conclusion?.decision?.numbers.units,
    kPromote: experiment?.conclusion?.decision?.numbers.kPromote,
    audit: audit.map(({ action }) => action),
    keys: evidence.filter(({ kind }) => kind === "unit").length,
    stable: (await world.router.routes(world.agent))?.stable.digest.replace(id, "a"),
    candidate: (await world.router.routes(world.agent))?.candidate,
  };
}

test.each([
  ["promoted", { stable: 0.4, candidate: 0.95 }],
  ["rolled_back", { stable: 0.95, candidate: 0.4 }],
] as const)(
  "killed at any query, a controller that starts over ends in the same decision, once: %s",
  async (state, success) => {
    const whole = await playKilledAt(Number.POSITIVE_INFINITY, success);
    expect(whole).toMatchObject({ state, killed: false, candidate: null });
    expect(whole.queries).toBeGreaterThan(35);
    for (let n = 1; n <= whole.queries; n++) {
      const interrupted = await playKilledAt(n, success);
      expect(interrupted, `killed at query ${n}`).toEqual({ ...whole, killed: true, queries: interrupted.queries });
    }
  },
  120_000,
);

test("two controllers at once: one decision, no key counted twice, and the slower one cannot raise a weight", async () => {
  const world = await open(8);
  const id = `${world.agent}-a`;
  await world.submit(id);
  const controllers = [world.controller(), world.controller()];
  for (let round = 0; round < 80; round++) {
    const results = await Promise.all(controllers.map((controller) => controller.reconcile(world.agent)));
    if (results.every(({ status }) => status === "idle")) break;
    await world.traffic(5);
  }
  expect(await world.store.get(id)).toMatchObject({ state: "promoted" });
  const keys = (await world.store.evidence(id, 0)).flatMap((row) => (row.kind === "unit" ? [row.unit.key] : []));
  expect(new Set(keys).size).toBe(keys.length);
  const audit = await database.kysely.selectFrom("audit").select("action").where("subject", "=", id).execute();
  expect(audit.filter(({ action }) => action === "experiment_proven")).toHaveLength(1);
});

test("a controller that was asleep through a rollback is fenced", async () => {
  const world = await open(9);
  const id = `${world.agent}-a`;
  await world.submit(id);
  await world.controller().reconcile(world.agent);
  const stale = await world.store.get(id);
  const raised = await world.router.routes(world.agent);
  await world.store.act(id, "rollback", "rosa");
  await world.controller().reconcile(world.agent);
  if (stale === null || raised === null) throw new Error("no canary");
  expect(await world.store.move(stale, "ramped", { actor: "stale" })).toEqual({ status: "conflict" });
  expect(await world.router.setRoutes(raised)).toMatchObject({ status: "fenced" });
  expect(await world.router.routes(world.agent)).toMatchObject({ candidate: null, stable: BASE });
});

test("what cannot be read holds everything: no row, no move, no weight", async () => {
  const world = await open(10);
  const id = `${world.agent}-a`;
  await world.submit(id);
  const controller = world.controller();
  await world.run(controller, 2);
  const before = [await world.store.get(id), await world.router.routes(world.agent), await world.store.evidence(id, 0)];
  await world.traffic(5);
  await expect(world.controller(dyingAt(1).database).reconcile(world.agent)).rejects.toThrow("killed here");
  expect([await world.store.get(id), await world.router.routes(world.agent), await world.store.evidence(id, 0)]).toEqual(before);
});

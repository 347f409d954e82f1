import { afterAll, beforeAll, expect, test } from "vitest";
import type { CanaryParameters } from "../../src/promotion/canary.ts";
import { isLive } from "../../src/promotion/promotion.ts";
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
const QUICK: CanaryParameters = { ...QUICKSTART, ramp: [{ weight: 0.3, untilUnits: 20 }, { weight: 0.5 }] };

/** A builder of queries, after each of whose answers `after` is waited for before its caller hears of it. */
function hooked<T extends object>(builder: T, after: () => Promise<void>): T {
  return new Proxy(builder, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        const made: unknown = Reflect.apply(value, target, args);
        if (String(name).startsWith("execute")) return (made as Promise<unknown>).then((result) => after().then(() => result));
        return typeof made === "object" && made !== null ? hooked(made, after) : made;
      };
    },
  });
}

/** The same database; after the n-th query or transaction made through it, and before its caller goes on, `meanwhile` happens. */
function withMeanwhile(n: number, meanwhile: () => Promise<void>): { database: Database; steps: () => number } {
  let steps = 0;
  const after = async (): Promise<void> => {
    steps += 1;
    if (steps === n) await meanwhile();
  };
  return {
    database: {
      ...database,
      kysely: hooked(database.kysely, after),
      async transaction(work, options) {
        const done = await database.transaction(work, options);
        await after();
        return done;
      },
    },
    steps: () => steps,
  };
}

/** What the leader's next turn would do. */
const TURNS: Record<string, (world: CanaryWorld, id: string) => Promise<unknown>> = {
  "raises the weight": async (world) => {
    await world.traffic(21);
  },
  "promotes on evidence": async (world) => {
    Object.assign(world.success, { stable: 0, candidate: 1 });
    await world.traffic(120);
  },
  "promotes for another operator": (world, id) => world.store.act(id, "promote", "rosa"),
};

/** An operator rolls back after the n-th step of a leader's turn, by another replica of the control service. */
async function rollBackAfter(n: number, turn: keyof typeof TURNS) {
  const world = await canaryWorld(database, { agent: `meanwhile-${++worlds}`, seed: 5 });
  const id = `${world.agent}-a`;
  await world.submit(id, { canary: QUICK });
  await world.controller().reconcile(world.agent);
  expect(await world.router.routes(world.agent)).toMatchObject({ candidate: { weight: 0.3 } });
  await TURNS[turn]?.(world, id);
  let wasLive: boolean | null = null;
  const leader = withMeanwhile(n, async () => {
    const before = await world.store.get(id);
    wasLive = before !== null && isLive(before.state);
    await world.store.act(id, "rollback", "kim");
    const { generation = 0 } = (await world.store.get(id)) ?? {};
    await world.router.withhold(world.agent, { experimentId: id, generation });
  });
  await world.controller(leader.database).reconcile(world.agent);
  const routes = await world.router.routes(world.agent);
  const weight = routes?.stable.digest === BASE.digest ? (routes.candidate?.weight ?? 0) : 1;
  await world.controller().reconcile(world.agent);
  return {
    steps: leader.steps(),
    wasLive: wasLive as boolean | null,
    weight,
    state: (await world.store.get(id))?.state,
    routes: await world.router.routes(world.agent),
  };
}

test.each(Object.keys(TURNS))(
  "a rollback in the midst of a turn that %s: it gives the candidate nothing back",
  async (turn) => {
    const alone = await rollBackAfter(Number.POSITIVE_INFINITY, turn);
    expect(alone).toMatchObject({ wasLive: null, weight: turn === "raises the weight" ? 0.5 : 1 });
    let live = 0;
    for (let n = 1; n <= alone.steps; n++) {
      const { wasLive, weight, state, routes } = await rollBackAfter(n, turn);
      expect({ state, stable: routes?.stable, candidate: routes?.candidate }, `after step ${n}`).toEqual({
        state: "rolled_back",
        stable: BASE,
        candidate: null,
      });
      // What was promoted before is undone by the turn after.
      if (wasLive === true) expect(weight, `after step ${n}`).toBe(0);
      if (wasLive === true) live += 1;
    }
    expect(live).toBeGreaterThanOrEqual(3);
  },
  60_000,
);

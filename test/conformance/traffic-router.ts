import { describe, expect, test } from "vitest";
import type { TrafficRouter } from "../../src/promotion/traffic-router.ts";
import type { Routes } from "../../src/serving/routes.ts";

const ROUTES: Omit<Routes, "agent"> = {
  model: "shop",
  version: 1,
  generation: 1,
  stable: { name: "base", digest: "sha256:base" },
  candidate: null,
  experimentId: null,
  salt: null,
};
const CANARY = { candidate: { name: "shop-1", digest: "sha256:1", weight: 0.1 }, experimentId: "experiment", salt: "salt" };

/** What every TrafficRouter must do. `open` gives a router that knows the agents of this suite and has no routes for them. */
export function describeTrafficRouter(name: string, open: () => Promise<TrafficRouter>): void {
  describe(`TrafficRouter: ${name}`, () => {
    let agents = 0;
    const fresh = async () => ({ router: await open(), agent: `agent-${++agents}` });

    test("has no routes for an agent that nobody set", async () => {
      const { router, agent } = await fresh();
      expect(await router.routes(agent)).toBeNull();
      await router.reset(agent);
      expect(await router.routes(agent)).toBeNull();
    });

    test("gives back what was set", async () => {
      const { router, agent } = await fresh();
      expect(await router.setRoutes({ agent, ...ROUTES, ...CANARY })).toEqual({ status: "set" });
      expect(await router.routes(agent)).toEqual({ agent, ...ROUTES, ...CANARY });
    });

    test("every change has a higher version, whatever version the writer thought of", async () => {
      const { router, agent } = await fresh();
      await router.setRoutes({ agent, ...ROUTES, version: 5 });
      await router.setRoutes({ agent, ...ROUTES, ...CANARY, generation: 2, version: 2 });
      expect((await router.routes(agent))?.version).toBe(6);
    });

    test("an older generation changes nothing, and hears which one rules", async () => {
      const { router, agent } = await fresh();
      await router.setRoutes({ agent, ...ROUTES, generation: 7 });
      const before = await router.routes(agent);
      expect(await router.setRoutes({ agent, ...ROUTES, ...CANARY, generation: 6, version: 99 })).toEqual({
        status: "fenced",
        generation: 7,
      });
      expect(await router.routes(agent)).toEqual(before);
    });

    test("a candidate is withheld at once, and a turn that began before gives it nothing back", async () => {
      const { router, agent } = await fresh();
      await router.setRoutes({ agent, ...ROUTES, ...CANARY, generation: 3 });
      const read = await router.routes(agent);
      await router.withhold(agent, { experimentId: "experiment", generation: 4 });
      const withheld = { agent, ...ROUTES, ...CANARY, version: 2, generation: 4, candidate: { ...CANARY.candidate, weight: 0 } };
      expect(await router.routes(agent)).toEqual(withheld);
      expect(await router.setRoutes({ ...read, agent, ...ROUTES, ...CANARY, generation: 3, version: 99 })).toEqual({
        status: "fenced",
        generation: 4,
      });
      expect(await router.routes(agent)).toEqual(withheld);
      await router.withhold(agent, { experimentId: "experiment", generation: 4 });
      expect(await router.routes(agent)).toMatchObject({ generation: 4, candidate: { weight: 0 } });
    });

    test("nothing is withheld of another experiment's, of a newer generation's, or where there is no candidate", async () => {
      const { router, agent } = await fresh();
      await router.withhold(agent, { experimentId: "experiment", generation: 9 });
      expect(await router.routes(agent)).toBeNull();
      const canary = { agent, ...ROUTES, ...CANARY, generation: 5 };
      await router.setRoutes(canary);
      await router.withhold(agent, { experimentId: "another", generation: 9 });
      await router.withhold(agent, { experimentId: "experiment", generation: 4 });
      await router.withhold(`${agent}-other`, { experimentId: "experiment", generation: 9 });
      expect(await router.routes(agent)).toEqual(canary);
      await router.setRoutes({ agent, ...ROUTES, generation: 6, version: 2 });
      await router.withhold(agent, { experimentId: "experiment", generation: 9 });
      expect(await router.routes(agent)).toMatchObject({ candidate: null, version: 2, generation: 6 });
    });

    test("reset sends everyone to stable, twice as well as once", async () => {
      const { router, agent } = await fresh();
      await router.setRoutes({ agent, ...ROUTES, ...CANARY });
      await router.reset(agent);
      const reset = await router.routes(agent);
      expect(reset).toMatchObject({ stable: ROUTES.stable, candidate: null, experimentId: null, salt: null, generation: 1, version: 2 });
      await router.reset(agent);
      expect(await router.routes(agent)).toEqual(reset);
    });

    test("agents do not meet", async () => {
      const { router, agent } = await fresh();
      await router.setRoutes({ agent, ...ROUTES, ...CANARY });
      await router.reset(`${agent}-other`);
      expect((await router.routes(agent))?.candidate).toEqual(CANARY.candidate);
    });
  });
}

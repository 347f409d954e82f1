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

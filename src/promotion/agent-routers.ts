import type { Routes } from "../serving/routes.ts";
import type { TrafficRouter } from "./traffic-router.ts";

/**
 * One router of all agents: those in `others` have one of their own, the rest the gateways'. What another router holds is written to the gateways' as well, after it: there it
 * is what gateways that stand in front of such a fleet, the API and the page go by, who must not wait for another system.
 */
export function routerOfAgents(gateway: TrafficRouter, others: ReadonlyMap<string, TrafficRouter>): TrafficRouter {
  const of = (agent: string): TrafficRouter => others.get(agent) ?? gateway;
  /** A gateway that assigns would split a second time: it hears of stable alone. */
  const copy = async (routes: Routes): Promise<void> => {
    const known = await gateway.routes(routes.agent);
    if (known?.stable.digest === routes.stable.digest && known.model === routes.model && known.candidate === null) return;
    await gateway.setRoutes({ ...routes, candidate: null, experimentId: null, salt: null });
  };
  return {
    draws: (agent) => of(agent).draws(agent),
    async routes(agent) {
      const own = others.get(agent);
      const kept = await gateway.routes(agent);
      if (own === undefined) return kept;
      let found = await own.routes(agent);
      if (found === null && kept !== null) {
        // The agent's traffic was the gateways' until now: what was promoted stays.
        await own.setRoutes(kept);
        found = await own.routes(agent);
      }
      if (found !== null) await copy(found);
      return found;
    },
    async setRoutes(routes) {
      const own = others.get(routes.agent);
      if (own === undefined) return gateway.setRoutes(routes);
      const result = await own.setRoutes(routes);
      if (result.status === "set") await copy(routes);
      return result;
    },
    async withhold(agent, by) {
      await others.get(agent)?.withhold(agent, by);
      // Of an agent with a router of its own the gateways hold a canary only until that has taken it over.
      await gateway.withhold(agent, by);
    },
    async reset(agent) {
      const own = others.get(agent);
      await own?.reset(agent);
      if (own === undefined) await gateway.reset(agent);
    },
  };
}

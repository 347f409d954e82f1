import type { Logger } from "../log.ts";
import { routesSchema, type Routes } from "../serving/routes.ts";
import type { Database } from "../store/database.ts";
import { acceptedRoutes, resetRoutes, withheldRoutes } from "./promotion.ts";
import type { TrafficRouter } from "./traffic-router.ts";

export interface GatewayRouter extends TrafficRouter {
  /** Calls `listener` with every change made through this router, in order, after it is stored. Returns how to stop. */
  subscribe(listener: (routes: Routes) => void): () => void;
}

/**
 * Routes for Nightshift's own gateways: one row per agent, from which `serve` answers the gateways' long polls. Assignment is per key and sticky, so its canaries
 * give quality decisions. `version` is this router's: it grows with every change, whatever the caller thought the last one was.
 */
export function createGatewayRouter(deps: { database: Database; log: Logger }): GatewayRouter {
  const { kysely } = deps.database;
  const listeners = new Set<(routes: Routes) => void>();
  const notify = (routes: Routes) => {
    for (const listener of listeners) {
      try {
        listener(routes);
      } catch (error) {
        deps.log.error({ err: error, agent: routes.agent }, "route listener failed");
      }
    }
  };

  /** `change` sees the stored routes under lock and returns what to store, or null to leave them. */
  const update = (
    agent: string,
    change: (current: Routes | null) => Routes | null,
  ): Promise<{ current: Routes | null; next: Routes | null }> =>
    deps.database.transaction(async (transaction) => {
      const row = await transaction.selectFrom("routes").select("body").where("agent", "=", agent).forUpdate().executeTakeFirst();
      const current = row === undefined ? null : routesSchema.parse(row.body);
      const next = change(current);
      if (next === null) return { current, next };
      const columns = { version: next.version, generation: next.generation, body: JSON.stringify(next) };
      if (row === undefined)
        await transaction
          .insertInto("routes")
          .values({ agent, ...columns })
          .execute();
      else await transaction.updateTable("routes").set(columns).where("agent", "=", agent).execute();
      return { current, next };
    });

  return {
    draws: () => "per_key",
    async routes(agent) {
      const row = await kysely.selectFrom("routes").select("body").where("agent", "=", agent).executeTakeFirst();
      return row === undefined ? null : routesSchema.parse(row.body);
    },
    async setRoutes(routes) {
      const { current, next } = await update(routes.agent, (stored) => acceptedRoutes(stored, routes));
      if (next === null) return { status: "fenced", generation: current?.generation ?? 0 };
      notify(next);
      return { status: "set" };
    },
    async withhold(agent, by) {
      const { next } = await update(agent, (stored) => withheldRoutes(stored, by));
      if (next !== null) notify(next);
    },
    async reset(agent) {
      const { next } = await update(agent, resetRoutes);
      if (next !== null) notify(next);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

import type { Routes } from "../serving/routes.ts";

/** Puts weights on live traffic. Drivers that draw per request give no quality decision and say so. */
export interface TrafficRouter {
  routes(agent: string): Promise<Routes | null>;
  /** Takes effect on new assignment keys within seconds. Rejects an older generation with `fenced`. */
  setRoutes(routes: Routes): Promise<{ status: "set" } | { status: "fenced"; generation: number }>;
  /** All traffic to stable, now. */
  reset(agent: string): Promise<void>;
}

import type { Routes } from "../serving/routes.ts";

/** Puts weights on live traffic. Drivers that draw per request give no quality decision and say so. */
export interface TrafficRouter {
  /**
   * What a draw decides: an assignment key's arm for as long as the experiment lasts, or one request's. Where it is a request's, a conversation sees both arms, so no
   * outcome is one arm's and there is nothing to compare: such canaries wait for an operator.
   */
  draws(agent: string): "per_key" | "per_request";
  routes(agent: string): Promise<Routes | null>;
  /** Takes effect on new assignment keys within seconds. Rejects an older generation with `fenced`. */
  setRoutes(routes: Routes): Promise<{ status: "set" } | { status: "fenced"; generation: number }>;
  /**
   * Ends the traffic of one experiment's candidate now, whatever the caller knows of the routes. Whoever sets routes after it must know `generation`: a turn that began before
   * brings nothing back. Changes nothing where the routes are another experiment's, or a newer generation's.
   */
  withhold(agent: string, by: { experimentId: string; generation: number }): Promise<void>;
  /** All traffic to stable, now. */
  reset(agent: string): Promise<void>;
}

import { openCluster, type Cluster } from "../cluster.ts";
import type { Config } from "../config.ts";
import { routerOfAgents } from "../promotion/agent-routers.ts";
import { createHttpRouteRouter } from "../promotion/httproute-router.ts";
import { createLlmdRouter } from "../promotion/llmd-router.ts";
import type { TrafficRouter } from "../promotion/traffic-router.ts";

/** What splits each agent's traffic, beside the gateways. @throws NightshiftError `cluster_unknown` where an agent's router is an object of Kubernetes */
export async function openRouters(
  { agents }: Pick<Config, "agents">,
  gateway: TrafficRouter,
  { monotonicMs }: { monotonicMs: () => number },
): Promise<TrafficRouter> {
  const others = new Map<string, TrafficRouter>();
  let cluster: Cluster | null = null;
  for (const [agent, { router: config }] of Object.entries(agents)) {
    if (config.driver === "gateway") continue;
    cluster ??= await openCluster();
    const deps = { cluster, monotonicMs };
    others.set(
      agent,
      config.driver === "llm-d" ? createLlmdRouter({ agent, config }, deps) : createHttpRouteRouter({ agent, config }, deps),
    );
  }
  return routerOfAgents(gateway, others);
}

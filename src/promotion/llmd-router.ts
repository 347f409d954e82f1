import { z } from "zod";
import type { Cluster } from "../cluster.ts";
import type { RouterConfig } from "../config-router.ts";
import { createObjectRouter, type RouteKind, type Share } from "./route-object.ts";
import type { TrafficRouter } from "./traffic-router.ts";

type LlmdConfig = Extract<RouterConfig, { driver: "llm-d" }>;

/**
 * Routes of an llm-d fleet: an `InferenceModelRewrite` of Nightshift's own, which has the endpoint picker replace the public model name by an adapter's. It draws anew for
 * every request, so conversations see both arms. Of several rewrites that match one model the oldest rules, whoever's it is.
 */
export function createLlmdRouter(
  { agent, config }: { agent: string; config: LlmdConfig },
  deps: { cluster: Cluster; monotonicMs: () => number },
): TrafficRouter {
  return createObjectRouter({ agent, name: config.name, namespace: config.namespace ?? deps.cluster.namespace }, rewriteOf(config), deps);
}

const specSchema = z.object({
  rules: z.array(z.object({ targets: z.array(z.object({ modelRewrite: z.string(), weight: z.number().default(1) })).default([]) })),
});

/** Weights are 1 to 1,000,000 by its schema: a target without traffic is not there. */
export function rewriteOf({ pool }: Pick<LlmdConfig, "pool">): RouteKind {
  return {
    apiVersion: "llm-d.ai/v1alpha2",
    kind: "InferenceModelRewrite",
    plural: "inferencemodelrewrites",
    mayCreate: true,
    spec: (model, shares) => ({
      poolRef: { name: pool.name, ...(pool.group === undefined ? {} : { group: pool.group }) },
      rules: [{ matches: [{ model: { type: "Exact", value: model } }], targets: shares.map(targetOf) }],
    }),
    weights(spec) {
      const parsed = specSchema.safeParse(spec);
      const [rule] = parsed.data?.rules ?? [];
      return rule === undefined ? null : new Map(rule.targets.map(({ modelRewrite, weight }) => [modelRewrite, weight]));
    },
  };
}

function targetOf({ target, weight }: Share): object {
  return { modelRewrite: target.name, weight };
}

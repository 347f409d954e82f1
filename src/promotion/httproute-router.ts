import { z } from "zod";
import type { Cluster } from "../cluster.ts";
import type { RouterConfig } from "../config-router.ts";
import { createObjectRouter, type RouteKind, type Share } from "./route-object.ts";
import type { TrafficRouter } from "./traffic-router.ts";

type HttpRouteConfig = Extract<RouterConfig, { driver: "http-route" }>;

/**
 * Routes in a Gateway API `HTTPRoute` that somebody made with its parents and host names: both arms lead to one backend, with a request header that tells the endpoint
 * picker which adapter to serve with. It draws anew for every request; where the route has session persistence, a session stays with its backend also after the
 * weight of that fell to 0, so a rollback moves no session that lives.
 */
export function createHttpRouteRouter(
  { agent, config }: { agent: string; config: HttpRouteConfig },
  deps: { cluster: Cluster; monotonicMs: () => number },
): TrafficRouter {
  return createObjectRouter({ agent, name: config.name, namespace: config.namespace ?? deps.cluster.namespace }, httpRouteOf(config), deps);
}

const filterSchema = z.object({
  requestHeaderModifier: z.object({ set: z.array(z.object({ name: z.string(), value: z.string() })).default([]) }).optional(),
});
const specSchema = z.object({
  rules: z.array(
    z.object({ backendRefs: z.array(z.object({ weight: z.number().default(1), filters: z.array(filterSchema).default([]) })).default([]) }),
  ),
});

/** A backend without a share is taken out, and not given the weight 0: session persistence outlives that. */
export function httpRouteOf({ backend, header, matchHeader }: Pick<HttpRouteConfig, "backend" | "header" | "matchHeader">): RouteKind {
  const { name, kind, group, port } = backend;
  const backendOf = ({ target, weight }: Share): object => ({
    ...{ group, kind, name, weight },
    ...(port === undefined ? {} : { port }),
    filters: [{ type: "RequestHeaderModifier", requestHeaderModifier: { set: [{ name: header, value: target.name }] } }],
  });
  const matchOf = (model: string): object =>
    matchHeader === undefined
      ? { path: { type: "PathPrefix", value: "/" } }
      : { path: { type: "PathPrefix", value: "/" }, headers: [{ type: "Exact", name: matchHeader, value: model }] };
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "HTTPRoute",
    plural: "httproutes",
    mayCreate: false,
    spec: (model, shares) => ({ rules: [{ matches: [matchOf(model)], backendRefs: shares.map(backendOf) }] }),
    weights(spec) {
      const parsed = specSchema.safeParse(spec);
      const [rule] = parsed.data?.rules ?? [];
      if (rule === undefined) return null;
      const named = rule.backendRefs.flatMap(({ weight, filters }) => {
        const set = filters.flatMap(({ requestHeaderModifier }) => requestHeaderModifier?.set ?? []);
        const model = set.find((one) => one.name.toLowerCase() === header.toLowerCase())?.value;
        return model === undefined ? [] : [[model, weight] as const];
      });
      return new Map(named);
    },
  };
}

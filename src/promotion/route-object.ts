import { acceptedOf, type Cluster, type ClusterObject, type ClusterRequest } from "../cluster.ts";
import { nightshiftError } from "../errors.ts";
import { routesSchema, type Routes, type RouteTarget } from "../serving/routes.ts";
import { acceptedRoutes, resetRoutes, withheldRoutes } from "./promotion.ts";
import type { TrafficRouter } from "./traffic-router.ts";

/** A share of traffic for one target. Shares are above 0 and add up to `SHARES`. */
export interface Share {
  target: RouteTarget;
  weight: number;
}

/** How one kind of object says what a router wants. Pure. */
export interface RouteKind {
  /** `group/version`. */
  apiVersion: string;
  kind: string;
  plural: string;
  /** Whether Nightshift may make the object where there is none. */
  mayCreate: boolean;
  /** What of `spec` is Nightshift's. */
  spec(model: string, shares: readonly Share[]): Record<string, unknown> & { rules: unknown };
  /** The weights that a live object has, by name of target; null where it has none that Nightshift could have written. */
  weights(spec: unknown): ReadonlyMap<string, number> | null;
}

interface RouteObject extends ClusterObject {
  metadata: ClusterObject["metadata"] & {
    annotations?: Record<string, string>;
    managedFields?: readonly { manager?: string; fieldsV1?: Record<string, unknown> }[];
  };
  spec?: unknown;
}

const SHARES = 1_000_000;
const MANAGER = "nightshift";
const ANNOTATION = "nightshift.dev/routes";
/** The controller asks four times a second; who writes always looks first. */
const FRESH_MS = 1_000;
/** Of writes that met another one. */
const MAX_TRIES = 5;

/**
 * Routes of one agent in one object of the Kubernetes API, which some other component serves by. What they are stands in an annotation, since such objects know no digest,
 * generation or experiment. Every write says which state of the object it is made on, so an older generation changes nothing; only `spec.rules` (and what makes up
 * a new object) is written, and not where another manager had it before Nightshift did.
 */
export function createObjectRouter(
  { agent: owner, name, namespace }: { agent: string; name: string; namespace: string },
  kind: RouteKind,
  deps: { cluster: Cluster; monotonicMs: () => number },
): TrafficRouter {
  const what = `${kind.kind} ${namespace}/${name}`;
  const collection = `/apis/${kind.apiVersion}/namespaces/${namespace}/${kind.plural}`;
  const path = `${collection}/${name}`;
  let seen: { object: RouteObject | null; atMs: number } | null = null;

  async function read(): Promise<RouteObject | null> {
    const atMs = deps.monotonicMs();
    const answer = await deps.cluster.ask({ what, method: "GET", path });
    const object = answer.status === 404 ? null : acceptedOf<RouteObject>({ what }, answer);
    seen = { object, atMs };
    return object;
  }

  async function write(current: RouteObject | null, routes: Routes): Promise<"written" | "conflict"> {
    if (current === null && !kind.mayCreate) throw nightshiftError("route_object_missing", { what });
    // What was Nightshift's once stays so: a weight that somebody set by hand must not keep a rollback from happening.
    const other = current === null || routesIn(current) !== null ? null : otherManagerOf(current);
    if (other !== null) throw nightshiftError("route_object_foreign", { what, manager: other });
    const answer = await deps.cluster.ask({ what, ...writeOf(current, routes, { kind, name, namespace, collection }) });
    seen = null;
    if (answer.status !== 409) acceptedOf({ what }, answer);
    return answer.status === 409 ? "conflict" : "written";
  }

  /** `change` sees the routes as they are, and returns those to write, or null to leave them. */
  async function update(change: (current: Routes | null) => Routes | null): Promise<{ current: Routes | null; isSet: boolean }> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const object = await read();
      const current = object === null ? null : routesIn(object);
      const next = change(current);
      if (next === null) return { current, isSet: false };
      if ((await write(object, next)) === "written") return { current, isSet: true };
    }
    throw nightshiftError("cluster_unavailable", { what, problem: `${MAX_TRIES} writes in a row met another one` });
  }

  return {
    draws: () => "per_request",
    async routes(agent) {
      if (agent !== owner) return null;
      const isFresh = seen !== null && deps.monotonicMs() - seen.atMs < FRESH_MS;
      const object = isFresh ? (seen?.object ?? null) : await read();
      const routes = object === null ? null : routesIn(object);
      return object === null || routes === null ? null : asServed(routes, kind.weights(object.spec));
    },
    async setRoutes(routes) {
      const { current, isSet } = await update((known) => acceptedRoutes(known, routes));
      return isSet ? { status: "set" } : { status: "fenced", generation: current?.generation ?? 0 };
    },
    async withhold(agent, by) {
      if (agent === owner) await update((known) => withheldRoutes(known, by));
    },
    async reset(agent) {
      if (agent === owner) await update(resetRoutes);
    },
  };
}

/** Of a new object, or of what is there in exactly the state that was read. */
function writeOf(
  current: RouteObject | null,
  routes: Routes,
  { kind, name, namespace, collection }: { kind: RouteKind; name: string; namespace: string; collection: string },
): Omit<ClusterRequest, "what"> {
  const spec = kind.spec(routes.model, sharesOf(routes));
  const metadata = { name, namespace, annotations: { [ANNOTATION]: JSON.stringify(routes) } };
  const head = { apiVersion: kind.apiVersion, kind: kind.kind };
  if (current === null) return { method: "POST", path: collection, query: { fieldManager: MANAGER }, body: { ...head, metadata, spec } };
  return {
    method: "PATCH",
    path: `${collection}/${name}`,
    contentType: "application/apply-patch+yaml",
    // Whose the rules are was looked at; even those of its own creation an apply has to be told to take.
    query: { fieldManager: MANAGER, force: true },
    body: { ...head, metadata: { ...metadata, resourceVersion: current.metadata.resourceVersion }, spec },
  };
}

/** Targets without a share are left out: these objects know no weight of 0, or take one for something else. Pure. */
export function sharesOf({ stable, candidate }: Pick<Routes, "stable" | "candidate">): Share[] {
  const weight = candidate === null ? 0 : Math.round(candidate.weight * SHARES);
  const shares = [
    { target: stable, weight: SHARES - weight },
    ...(candidate === null ? [] : [{ target: { name: candidate.name, digest: candidate.digest }, weight }]),
  ];
  return shares.filter((share) => share.weight > 0);
}

/** What the annotation says, with the candidate's weight as the object really has it: somebody may have changed that by hand, and whoever compares puts it right. */
function asServed(routes: Routes, weights: ReadonlyMap<string, number> | null): Routes {
  const { candidate } = routes;
  const total = [...(weights?.values() ?? [])].reduce((sum, weight) => sum + weight, 0);
  if (candidate === null) return routes;
  const found = total === 0 ? 0 : (weights?.get(candidate.name) ?? 0) / total;
  return Math.round(found * SHARES) === Math.round(candidate.weight * SHARES)
    ? routes
    : { ...routes, candidate: { ...candidate, weight: found } };
}

function routesIn({ metadata }: RouteObject): Routes | null {
  const text = metadata.annotations?.[ANNOTATION];
  if (text === undefined) return null;
  const parsed = routesSchema.safeParse(jsonOf(text));
  return parsed.success ? parsed.data : null;
}

/** Who else set the rules; defaults of the API are nobody's. */
function otherManagerOf({ metadata }: RouteObject): string | null {
  const owner = metadata.managedFields?.find(({ manager, fieldsV1 }) => {
    const spec = fieldsV1?.["f:spec"] as Record<string, unknown> | undefined;
    return manager !== MANAGER && spec !== undefined && "f:rules" in spec;
  });
  return owner === undefined ? null : (owner.manager ?? "another manager");
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

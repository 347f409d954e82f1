import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { openCluster, type Cluster } from "../../../src/cluster.ts";
import { routerOfAgents } from "../../../src/promotion/agent-routers.ts";
import { createExperimentStore } from "../../../src/promotion/experiment-store.ts";
import { createHttpRouteRouter } from "../../../src/promotion/httproute-router.ts";
import { createLlmdRouter } from "../../../src/promotion/llmd-router.ts";
import type { TrafficRouter } from "../../../src/promotion/traffic-router.ts";
import type { Routes } from "../../../src/serving/routes.ts";
import { apiWorld, NOW_MS } from "../../api/world.ts";
import { QUICKSTART } from "../../bench/canary/simulate.ts";
import { describeTrafficRouter } from "../../conformance/traffic-router.ts";
import { memoryDatabase } from "../../store/memory-database.ts";
import { kubernetesPrograms } from "../parts/kubernetes.ts";
import { startControlPlane, type ControlPlane } from "./control-plane.ts";
import { modelRewriteCrd } from "./model-rewrite-crd.ts";

const NAMESPACE = "default";
const REWRITES = `/apis/llm-d.ai/v1alpha2/namespaces/${NAMESPACE}/inferencemodelrewrites`;
const HTTP_ROUTES = `/apis/gateway.networking.k8s.io/v1/namespaces/${NAMESPACE}/httproutes`;
/** More than a router keeps what it has read. */
const LATER_MS = 2_000;

interface Stored {
  metadata: { annotations: Record<string, string>; resourceVersion: string };
  spec: { parentRefs?: unknown; hostnames?: unknown; rules: Record<string, unknown>[] };
}

let plane: ControlPlane;
let cluster: Cluster;
let agents = 0;
let clockMs = 0;
const monotonicMs = (): number => clockMs;
const later = (): void => void (clockMs += LATER_MS);

beforeAll(async () => {
  plane = await startControlPlane();
  const crds = kubernetesPrograms().gatewayCrds;
  const documents = readdirSync(crds)
    .filter((name) => name.endsWith("_httproutes.yaml"))
    .map((name) => parse(readFileSync(join(crds, name), "utf8")) as object);
  expect(documents).toHaveLength(1);
  await plane.apply(...documents, modelRewriteCrd());
  await plane.kubectl(["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]);
  vi.stubEnv("KUBECONFIG", plane.kubeconfig);
  cluster = await openCluster();
}, 120_000);
afterAll(async () => {
  vi.unstubAllEnvs();
  await plane?.close();
});
beforeEach(later);

const llmd = (agent: string): TrafficRouter =>
  createLlmdRouter(
    { agent, config: { driver: "llm-d", name: agent, namespace: NAMESPACE, pool: { name: "vllm" } } },
    { cluster, monotonicMs },
  );
const httpRoute = (agent: string): TrafficRouter => {
  const backend = { name: "vllm", kind: "InferencePool", group: "inference.networking.k8s.io" };
  const config = { driver: "http-route", name: agent, namespace: NAMESPACE, backend, header: "x-gateway-model-name-rewrite" } as const;
  return createHttpRouteRouter({ agent, config }, { cluster, monotonicMs });
};

/** As an operator makes it: with a parent and a host name, and nothing of where it leads. */
function operatorsRoute(name: string, rules?: unknown): object {
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "HTTPRoute",
    metadata: { name, namespace: NAMESPACE, labels: { team: "platform" } },
    spec: { parentRefs: [{ name: "public" }], hostnames: ["models.example.com"], ...(rules === undefined ? {} : { rules }) },
  };
}

/** One router of the suite's agents, each with an object of its own, as `serve` has them. */
function ofAgents(router: (agent: string) => TrafficRouter): TrafficRouter {
  const known = new Map<string, TrafficRouter>();
  const of = (agent: string): TrafficRouter => {
    const one = known.get(agent) ?? router(agent);
    known.set(agent, one);
    return one;
  };
  return {
    draws: (agent) => of(agent).draws(agent),
    routes: (agent) => of(agent).routes(agent),
    setRoutes: (routes) => of(routes.agent).setRoutes(routes),
    withhold: (agent, by) => of(agent).withhold(agent, by),
    reset: (agent) => of(agent).reset(agent),
  };
}

describeTrafficRouter("llm-d", () => Promise.resolve(ofAgents(llmd)));

describeTrafficRouter("http-route", async () => {
  // The suite counts its agents.
  await plane.apply(...Array.from({ length: 12 }, (_, index) => operatorsRoute(`agent-${index + 1}`)));
  return ofAgents(httpRoute);
});

const routesOf = (agent: string, weight: number, change: Partial<Routes> = {}): Routes => ({
  ...{ agent, model: "shop", version: 1, generation: 1, experimentId: "experiment", salt: "salt" },
  stable: { name: "shop-3", digest: "sha256:3" },
  candidate: { name: "shop-4", digest: "sha256:4", weight },
  ...change,
});

const KINDS = {
  "llm-d": { open: llmd, path: REWRITES, weightsOf: (stored: Stored) => weightsIn(stored, "targets") },
  "http-route": { open: httpRoute, path: HTTP_ROUTES, weightsOf: (stored: Stored) => weightsIn(stored, "backendRefs") },
};

function weightsIn({ spec }: Stored, list: "targets" | "backendRefs"): number[] {
  expect(spec.rules).toHaveLength(1);
  const [rule = {}] = spec.rules;
  return (rule[list] as { weight: number }[]).map(({ weight }) => weight);
}

describe.each(Object.entries(KINDS))("%s", (driver, { open, path, weightsOf }) => {
  const fresh = async () => {
    const agent = `own-${driver}-${++agents}`;
    if (driver === "http-route") await plane.apply(operatorsRoute(agent));
    return { agent, router: open(agent), stored: () => plane.api.get<Stored>(`${path}/${agent}`) };
  };

  test("draws for every request", async () => {
    const { agent, router } = await fresh();
    expect(router.draws(agent)).toBe("per_request");
  });

  test("every weight of a canary is one that the API takes, and who has none is not there", async () => {
    const { agent, router, stored } = await fresh();
    for (const [index, [weight, expected]] of (
      [
        [0, [1_000_000]],
        [0.000_001, [999_999, 1]],
        [0.05, [950_000, 50_000]],
        [1 / 3, [666_667, 333_333]],
        [1, [1_000_000]],
      ] as const
    ).entries()) {
      expect(await router.setRoutes(routesOf(agent, weight, { generation: index + 1 }))).toEqual({ status: "set" });
      expect(weightsOf(await stored())).toEqual(expected);
      expect((await router.routes(agent))?.candidate?.weight).toBe(weight);
    }
    await router.reset(agent);
    expect(weightsOf(await stored())).toEqual([1_000_000]);
    expect(JSON.stringify((await stored()).spec)).not.toContain("shop-4");
  });

  test("a weight that somebody changed by hand is seen, and put right by the next write", async () => {
    const { agent, router, stored } = await fresh();
    await router.setRoutes(routesOf(agent, 0.1));
    const list = driver === "llm-d" ? "targets" : "backendRefs";
    const change = [{ op: "replace", path: `/spec/rules/0/${list}/1/weight`, value: 900_000 }];
    await plane.kubectl([
      "patch",
      driver === "llm-d" ? "inferencemodelrewrite" : "httproute",
      agent,
      "--type=json",
      "-p",
      JSON.stringify(change),
    ]);
    later();
    expect((await router.routes(agent))?.candidate?.weight).toBeCloseTo(0.5, 9);
    // It keeps nobody from rolling back, though kubectl is the manager of that field now.
    expect(await router.setRoutes(routesOf(agent, 0.1, { generation: 2 }))).toEqual({ status: "set" });
    expect(weightsOf(await stored())).toEqual([900_000, 100_000]);
    later();
    expect((await router.routes(agent))?.candidate?.weight).toBe(0.1);
  });

  test("two writers at once: the newer generation stands, whoever was last", async () => {
    const { agent, router, stored } = await fresh();
    await router.setRoutes(routesOf(agent, 0.05));
    for (let round = 1; round <= 5; round++) {
      const writers = [1, 2, 3].map((by) => open(agent).setRoutes(routesOf(agent, by / 10, { generation: round * 10 + by })));
      await Promise.all(writers);
      later();
      const after = await router.routes(agent);
      expect(after).toMatchObject({ generation: round * 10 + 3, candidate: { weight: 0.3 } });
      expect(weightsOf(await stored())).toEqual([700_000, 300_000]);
      expect(await open(agent).setRoutes(routesOf(agent, 0.9, { generation: round * 10 + 2 }))).toEqual({
        status: "fenced",
        generation: round * 10 + 3,
      });
    }
  });

  test("an operator's rollback takes the candidate out of the object though nobody leads; what a leader had read before changes nothing", async () => {
    const { agent, router, stored } = await fresh();
    const traffic = (gateway: TrafficRouter): TrafficRouter => routerOfAgents(gateway, new Map([[agent, router]]));
    const config = { tenants: { default: {} }, agents: { [agent]: { model: "shop", baseModel: "base" } } };
    const database = await memoryDatabase();
    const world = await apiWorld(database, { config, traffic });
    const store = createExperimentStore({ database, now: () => NOW_MS });
    const submitted = await store.submit({
      ...{ id: agent, tenant: "default", agent, model: "shop", runId: null, salt: "salt", canary: QUICKSTART, horizonMs: 1_000 },
      ...{ candidate: { name: "shop-4", digest: "sha256:4" }, stable: { name: "shop-3", digest: "sha256:3" }, gate: null, automatic: true },
    });
    let experiment = submitted;
    for (const event of ["enqueued", "slot_free", "attested"] as const) {
      const moved = await store.move(experiment, event, { actor: "controller" });
      if (moved.status !== "moved") throw new Error(event);
      experiment = moved.experiment;
    }
    const canary = routesOf(agent, 0.25, { generation: experiment.generation, experimentId: agent });
    await router.setRoutes(canary);
    expect(weightsOf(await stored())).toEqual([750_000, 250_000]);
    const asked = await world.get(`/v1/traffic?agent=${agent}`);
    expect(asked).toMatchObject({ status: 200, body: { candidate: { name: "shop-4", weight: 0.25 } } });

    expect(await world.post(`/v1/experiments/${agent}/actions`, { action: "rollback", actor: "kim" })).toMatchObject({ status: 202 });
    expect(weightsOf(await stored())).toEqual([1_000_000]);
    expect(JSON.stringify((await stored()).spec)).not.toContain("shop-4");
    expect(await world.get(`/v1/traffic?agent=${agent}`)).toMatchObject({ body: { candidate: { weight: 0 } } });
    // Another replica's turn that began before: neither its move nor its routes come through.
    expect(await store.move(experiment, "ramped", { actor: "controller" })).toEqual({ status: "conflict" });
    expect(await open(agent).setRoutes({ ...canary, version: 99 })).toMatchObject({ status: "fenced" });
    expect(weightsOf(await stored())).toEqual([1_000_000]);
    await world.close();
    await database.close();
  });

  test("objects that are nobody's here are as they were", async () => {
    const { agent, router } = await fresh();
    const other = `${agent}-foreign`;
    if (driver === "llm-d") await llmd(other).setRoutes(routesOf(other, 0.5));
    else await plane.apply(operatorsRoute(other, [{ backendRefs: [{ name: "elsewhere", port: 80 }] }]));
    const before = (await plane.api.get<Stored>(`${path}/${other}`)).metadata.resourceVersion;
    await router.setRoutes(routesOf(agent, 0.5));
    await router.reset(agent);
    await router.reset(other);
    expect((await plane.api.get<Stored>(`${path}/${other}`)).metadata.resourceVersion).toBe(before);
  });
});

describe("an operator's HTTPRoute", () => {
  test("keeps its parents, host names and labels", async () => {
    await plane.apply(operatorsRoute("kept"));
    await httpRoute("kept").setRoutes(routesOf("kept", 0.2));
    expect(await plane.api.get(`${HTTP_ROUTES}/kept`)).toMatchObject({
      metadata: { labels: { team: "platform" } },
      spec: { parentRefs: [{ name: "public" }], hostnames: ["models.example.com"] },
    });
    // Applying it again, as a pipeline does every day, takes nothing away either.
    await plane.apply(operatorsRoute("kept"));
    later();
    expect((await httpRoute("kept").routes("kept"))?.candidate?.weight).toBe(0.2);
  });

  test("with rules of its own is not touched, and the error says whose they are", async () => {
    await plane.apply(operatorsRoute("ruled", [{ backendRefs: [{ name: "vllm", port: 8000 }] }]));
    await expect(httpRoute("ruled").setRoutes(routesOf("ruled", 0.2))).rejects.toThrow("spec.rules is kubectl's");
    expect(await plane.api.get(`${HTTP_ROUTES}/ruled`)).toMatchObject({ spec: { rules: [{ backendRefs: [{ name: "vllm" }] }] } });
  });

  test("that is not there is not made: nobody would know its parents", async () => {
    await expect(httpRoute("absent").setRoutes(routesOf("absent", 0.2))).rejects.toThrow(`there is no HTTPRoute ${NAMESPACE}/absent`);
    expect(await httpRoute("absent").routes("absent")).toBeNull();
  });
});

test("while the API server is down nothing is set and nothing pretended; after it the routes are as they were", async () => {
  const agent = "down";
  const router = llmd(agent);
  await router.setRoutes(routesOf(agent, 0.1));
  const resume = plane.pauseApiServer();
  later();
  await expect(router.routes(agent)).rejects.toThrow("no answer within 10000 ms");
  resume();
  await plane.restartApiServer();
  await vi.waitFor(async () => expect((await router.routes(agent))?.candidate?.weight).toBe(0.1), { timeout: 30_000, interval: 500 });
}, 90_000);

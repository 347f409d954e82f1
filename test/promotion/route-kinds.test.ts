import { expect, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { httpRouteOf } from "../../src/promotion/httproute-router.ts";
import { rewriteOf } from "../../src/promotion/llmd-router.ts";
import { sharesOf } from "../../src/promotion/route-object.ts";

const STABLE = { name: "shop-3", digest: "sha256:3" };
const at = (weight: number) => ({ stable: STABLE, candidate: { name: "shop-4", digest: "sha256:4", weight } });

function routerOf<D extends string>(router: { driver: D } & Record<string, unknown>) {
  const config = parseConfig({ agents: { shop: { model: "shop", baseModel: "base", router } } }).agents["shop"]?.router;
  if (config?.driver !== router.driver) throw new Error("another driver");
  return config as Extract<typeof config, { driver: D }>;
}

test.each([
  [at(0.1), [900_000, 100_000]],
  [at(1 / 3), [666_667, 333_333]],
  [at(0.000_001), [999_999, 1]],
])("shares are whole and add up", (routes, weights) => {
  expect(sharesOf(routes).map(({ weight }) => weight)).toEqual(weights);
});

test("who gets nothing is not there: 0 is no weight", () => {
  expect(sharesOf({ stable: STABLE, candidate: null })).toEqual([{ target: STABLE, weight: 1_000_000 }]);
  expect(sharesOf(at(0))).toEqual([{ target: STABLE, weight: 1_000_000 }]);
  expect(sharesOf(at(0.000_000_1))).toEqual([{ target: STABLE, weight: 1_000_000 }]);
  expect(sharesOf(at(1))).toEqual([{ target: { name: "shop-4", digest: "sha256:4" }, weight: 1_000_000 }]);
});

test("llm-d: the public name becomes an adapter's", () => {
  const kind = rewriteOf(routerOf({ driver: "llm-d", name: "shop", pool: { name: "vllm" } }));
  const spec = kind.spec("shop", sharesOf(at(0.2)));
  expect(spec).toEqual({
    poolRef: { name: "vllm" },
    rules: [
      {
        matches: [{ model: { type: "Exact", value: "shop" } }],
        targets: [
          { modelRewrite: "shop-3", weight: 800_000 },
          { modelRewrite: "shop-4", weight: 200_000 },
        ],
      },
    ],
  });
  expect(kind.weights(spec)).toEqual(
    new Map([
      ["shop-3", 800_000],
      ["shop-4", 200_000],
    ]),
  );
  expect(kind.weights({ rules: [] })).toBeNull();
  expect(kind.weights(undefined)).toBeNull();
});

test("HTTPRoute: one backend, and a header that names the adapter", () => {
  const kind = httpRouteOf(
    routerOf({ driver: "http-route", name: "shop", backend: { name: "vllm" }, matchHeader: "x-gateway-model-name" }),
  );
  const spec = kind.spec("shop", sharesOf(at(0.2)));
  const backend = (value: string, weight: number) => ({
    ...{ group: "inference.networking.k8s.io", kind: "InferencePool", name: "vllm", weight },
    filters: [{ type: "RequestHeaderModifier", requestHeaderModifier: { set: [{ name: "x-gateway-model-name-rewrite", value }] } }],
  });
  expect(spec).toEqual({
    rules: [
      {
        matches: [{ path: { type: "PathPrefix", value: "/" }, headers: [{ type: "Exact", name: "x-gateway-model-name", value: "shop" }] }],
        backendRefs: [backend("shop-3", 800_000), backend("shop-4", 200_000)],
      },
    ],
  });
  expect(kind.weights(spec)).toEqual(
    new Map([
      ["shop-3", 800_000],
      ["shop-4", 200_000],
    ]),
  );
  // As the API server defaults a route without rules.
  expect(kind.weights({ rules: [{ matches: [{ path: { type: "PathPrefix", value: "/" } }] }] })).toEqual(new Map());
});

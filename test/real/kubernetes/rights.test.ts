import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { parse, stringify } from "yaml";
import { createClusterMirror } from "../../../src/app/cluster-mirror.ts";
import { checkPolicyServers } from "../../../src/cli/doctor/policy-servers.ts";
import { openCluster, type Cluster } from "../../../src/cluster.ts";
import { parseConfig } from "../../../src/config.ts";
import { silentLog } from "../../../src/log.ts";
import { createGatewayRouter } from "../../../src/promotion/gateway-router.ts";
import { createLlmdRouter } from "../../../src/promotion/llmd-router.ts";
import { createEndpointReplicas } from "../../../src/serving/endpoint-slices.ts";
import type { Database } from "../../../src/store/database.ts";
import { createRunStore } from "../../../src/training/run-store.ts";
import { memoryDatabase } from "../../store/memory-database.ts";
import { startControlPlane, type ControlPlane } from "./control-plane.ts";
import { modelRewriteCrd } from "./model-rewrite-crd.ts";

const LIMIT = { timeout: 30_000, interval: 200 };
const monotonicMs = (): number => performance.now();

/** What docs/fleets.md says that `serve` needs, and the chart's Role gives. */
const RIGHTS = [
  { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["get", "create", "update"] },
  { apiGroups: [""], resources: ["events"], verbs: ["create"] },
  { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"] },
  { apiGroups: ["llm-d.ai"], resources: ["inferencemodelrewrites"], verbs: ["get", "create", "patch"] },
];

let plane: ControlPlane;
let database: Database;
beforeAll(async () => {
  plane = await startControlPlane();
  await plane.apply(modelRewriteCrd());
  await plane.kubectl(["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]);
  database = await memoryDatabase();
}, 120_000);
afterAll(async () => {
  vi.unstubAllEnvs();
  await database?.close();
  await plane?.close();
});

/** The cluster as a pod with this service account sees it. */
async function clusterAs(name: string, rules: readonly object[]): Promise<Cluster> {
  const head = { apiVersion: "rbac.authorization.k8s.io/v1", metadata: { name, namespace: "default" } };
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name };
  await plane.apply(
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace: "default" } },
    { ...head, kind: "Role", rules },
    { ...head, kind: "RoleBinding", roleRef, subjects: [{ kind: "ServiceAccount", name, namespace: "default" }] },
  );
  const token = (await plane.kubectl(["create", "token", name, "-n", "default"])).trim();
  const config = parse(readFileSync(plane.kubeconfig, "utf8")) as { users: { user: object }[]; contexts: { context: object }[] };
  for (const user of config.users) user.user = { token };
  for (const context of config.contexts) context.context = { ...context.context, namespace: "default" };
  const file = join(plane.home, `${name}.kubeconfig`);
  writeFileSync(file, stringify(config));
  vi.stubEnv("KUBECONFIG", file);
  return openCluster();
}

function openAll(cluster: Cluster, lease: string) {
  const stopping = new AbortController();
  const source = createEndpointReplicas(
    { service: "vllm", port: 8000, agentPort: 4402 },
    { cluster, log: silentLog() },
    { signal: stopping.signal },
  );
  const deps = {
    database,
    runs: createRunStore(database, Date.now),
    router: createGatewayRouter({ database, log: silentLog() }),
    log: silentLog(),
    now: Date.now,
  };
  const mirror = createClusterMirror({ lease, namespace: "default", name: "serve-0", agents: [] }, { ...deps, cluster });
  const loop = mirror.start({ epoch: 1, signal: stopping.signal, resign: () => undefined });
  const router = createLlmdRouter(
    { agent: lease, config: { driver: "llm-d", name: lease, pool: { name: "vllm" } } },
    { cluster, monotonicMs },
  );
  const stop = async (): Promise<void> => {
    stopping.abort();
    await source.over;
    await loop.stop();
  };
  return { source, router, stop };
}

const routes = (agent: string, generation: number) => ({
  ...{ agent, model: agent, version: 1, generation, stable: { name: "s", digest: "sha256:s" } },
  ...{ candidate: { name: "c", digest: "sha256:c", weight: 0.2 }, experimentId: "e", salt: "s" },
});
const isThere = (lease: string): Promise<boolean> =>
  plane.kubectl(["get", "lease", lease, "-n", "default", "-o", "name"]).then(
    () => true,
    () => false,
  );

test("the rights that are documented are enough, in a namespace that the account's own config names", async () => {
  const { source, router, stop } = openAll(await clusterAs("serve", RIGHTS), "allowed");
  await vi.waitFor(() => expect(source.current()).toEqual([]), LIMIT);
  await vi.waitFor(async () => expect(await isThere("allowed")).toBe(true), LIMIT);
  expect(await router.setRoutes(routes("allowed", 1))).toEqual({ status: "set" });
  expect(await router.setRoutes(routes("allowed", 2))).toEqual({ status: "set" });
  await router.reset("allowed");
  expect((await router.routes("allowed"))?.candidate).toBeNull();
  await stop();
});

test("without them nothing is pretended: no replicas are not known, no weight is set, and the error names the right", async () => {
  const { source, router, stop } = openAll(await clusterAs("nobody", []), "refused");
  await expect(router.setRoutes(routes("refused", 1))).rejects.toThrow(
    /answered 403 for InferenceModelRewrite default\/refused: .*cannot get resource/,
  );
  // Two rounds of every loop.
  await new Promise((resolve) => {
    setTimeout(resolve, 6_000);
  });
  expect(source.current()).toBeNull();
  expect(await isThere("refused")).toBe(false);
  const policyServers = { discover: { service: "vllm" } };
  const findings = await checkPolicyServers(parseConfig({ agents: { a: { model: "m", baseModel: "b", policyServers } } }));
  expect(findings).toMatchObject([
    {
      status: "bad",
      message: expect.stringMatching(/answered 403 for endpointslices of default\/vllm: .*cannot list resource/) as unknown,
    },
  ]);
  await stop();
});

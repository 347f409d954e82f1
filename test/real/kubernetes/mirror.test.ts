import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { createClusterMirror } from "../../../src/app/cluster-mirror.ts";
import type { Loop } from "../../../src/app/loop.ts";
import { openCluster, type Cluster } from "../../../src/cluster.ts";
import { silentLog } from "../../../src/log.ts";
import { noteAwaited } from "../../../src/promotion/awaits-operator.ts";
import { createExperimentStore, type Submission } from "../../../src/promotion/experiment-store.ts";
import { createGatewayRouter } from "../../../src/promotion/gateway-router.ts";
import type { Database } from "../../../src/store/database.ts";
import { createRunStore } from "../../../src/training/run-store.ts";
import { noteSilence } from "../../../src/training/silent-trainer.ts";
import { QUICKSTART } from "../../bench/canary/simulate.ts";
import { memoryDatabase } from "../../store/memory-database.ts";
import { startControlPlane, type ControlPlane } from "./control-plane.ts";

const LEASE = "r-nightshift-serve";
const LIMIT = { timeout: 30_000, interval: 200 };
const STABLE = { name: "shop-3-def", digest: "sha256:3" };

interface Lease {
  metadata: { annotations?: Record<string, string> };
  spec: { holderIdentity: string; leaseTransitions: number; renewTime: string };
}
interface Event {
  reason: string;
  type: string;
  message: string;
  involvedObject: { kind: string; name: string; uid?: string };
}

let plane: ControlPlane;
let cluster: Cluster;
let database: Database;
const running: Loop[] = [];
beforeAll(async () => {
  plane = await startControlPlane();
  vi.stubEnv("KUBECONFIG", plane.kubeconfig);
  cluster = await openCluster();
  database = await memoryDatabase();
}, 120_000);
afterEach(async () => {
  for (const loop of running.splice(0)) await loop.stop();
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await database?.close();
  await plane?.close();
});

const now = Date.now;
const deps = () => ({
  database,
  runs: createRunStore(database, now),
  router: createGatewayRouter({ database, log: silentLog() }),
  log: silentLog(),
  now,
});

/** A leader of this term, which mirrors until the test ends or `end` aborts. */
function lead(name: string, epoch: number): AbortController {
  const end = new AbortController();
  const mirror = createClusterMirror({ lease: LEASE, namespace: "default", name, agents: ["shop"] }, { ...deps(), cluster });
  running.push(mirror.start({ epoch, signal: end.signal, resign: () => undefined }));
  return end;
}
const lease = () => plane.api.get<Lease>(`/apis/coordination.k8s.io/v1/namespaces/default/leases/${LEASE}`);
const events = async () =>
  (await plane.api.get<{ items: Event[] }>("/api/v1/namespaces/default/events")).items.filter(
    ({ involvedObject }) => involvedObject.name === LEASE,
  );
const wake = (): void => running.forEach((loop) => loop.wake());

const submission = (id: string): Submission => ({
  ...{
    id,
    tenant: "default",
    agent: "shop",
    model: "shop",
    runId: null,
    stable: STABLE,
    salt: id,
    horizonMs: 60_000,
    gate: null,
    automatic: true,
  },
  candidate: { name: "shop-4-abc", digest: `sha256:${id}` },
  canary: QUICKSTART,
});

test("an operator sees who leads, what every agent serves and what happened, with kubectl alone", async () => {
  const { router, runs } = deps();
  await router.setRoutes({
    agent: "shop",
    model: "shop",
    version: 1,
    generation: 0,
    stable: STABLE,
    candidate: null,
    experimentId: null,
    salt: null,
  });
  const runId = "6f1d2f8e-0000-4000-8000-00000000000a";
  await runs.create({ id: runId, tenant: "default", agent: "shop", plan: {}, nowMs: now() });
  lead("serve-0", 3);
  await vi.waitFor(async () => {
    expect((await lease()).metadata.annotations?.["nightshift.dev/agent.shop"]).toBe(`stable shop-3-def; no canary yet; run ${runId}`);
  }, LIMIT);
  expect((await lease()).spec).toMatchObject({ holderIdentity: "serve-0", leaseTransitions: 3 });
  expect(await plane.kubectl(["get", "lease", LEASE, "-n", "default"])).toContain("serve-0");

  const alarm = { run_id: runId, id: "length", tenant: "default", agent: "shop", body: "{}", raised_at_ms: now() };
  await database.kysely
    .insertInto("alarms")
    .values({ ...alarm, acknowledged_at_ms: null, acknowledged_by: null, reason: null })
    .execute();
  await noteSilence({ runId, agent: "shop", silentMs: 121_000 }, deps());
  await runs.finish(runId, "finished", { kind: "candidate", adapterDigest: "sha256:4", adapterName: "shop-4-abc" }, now());
  const store = createExperimentStore({ database, now });
  let experiment = await store.submit(submission("canary-1"));
  for (const event of ["enqueued", "slot_free", "attested", "ramped", "harmed"] as const) {
    if (event === "harmed") await noteAwaited(experiment.id, deps());
    const moved = await store.move(experiment, event, { actor: "controller" });
    if (moved.status !== "moved") throw new Error(`${event}: ${moved.status}`);
    experiment = moved.experiment;
  }
  wake();
  const reasons = [
    "LeaderElected",
    "AlarmRaised",
    "TrainerSilent",
    "RunStarted",
    "RunEnded",
    "GatePassed",
    "CanaryWaits",
    "CanaryStarted",
    "CanaryStep",
    "PromotionWaits",
    "RolledBack",
  ];
  await vi.waitFor(async () => {
    wake();
    expect((await events()).map(({ reason }) => reason).toSorted()).toEqual(reasons.toSorted());
  }, LIMIT);
  const rolledBack = (await events()).find(({ reason }) => reason === "RolledBack");
  expect(rolledBack).toMatchObject({
    type: "Warning",
    message: "shop: shop-4-abc is rolled back to shop-3-def",
    involvedObject: { kind: "Lease" },
  });
  const waits = await plane.kubectl(["get", "events", "-n", "default", "--field-selector", "reason=PromotionWaits"]);
  expect(waits).toMatch(/Warning +PromotionWaits +lease\/r-nightshift-serve +shop: shop-4-abc is proven and waits for an operator/);
  const told = await plane.kubectl(["describe", "lease", LEASE, "-n", "default"]);
  for (const reason of reasons) expect(told).toContain(reason);
});

test("the next leader tells nothing twice, and one that was frozen writes nothing over it", async () => {
  const told = async (): Promise<string[]> => (await events()).map(({ reason, message }) => `${reason} ${message}`).toSorted();
  const before = await told();
  expect(before.length).toBeGreaterThan(0);
  lead("serve-1", 4);
  await vi.waitFor(async () => expect((await lease()).spec).toMatchObject({ holderIdentity: "serve-1", leaseTransitions: 4 }), LIMIT);
  const { renewTime } = (await lease()).spec;
  lead("serve-0", 3);
  // The current leader renews while the old one tries.
  await vi.waitFor(async () => {
    wake();
    const { spec } = await lease();
    expect(spec).toMatchObject({ holderIdentity: "serve-1", leaseTransitions: 4 });
    expect(spec.renewTime > renewTime).toBe(true);
  }, LIMIT);
  expect((await lease()).spec.holderIdentity).toBe("serve-1");
  expect((await told()).filter((line) => !before.includes(line))).toEqual([
    "LeaderElected serve-1 leads: nights and promotions go on there",
  ]);
  expect(await events()).toHaveLength(before.length + 1);
});

test("without an API server nothing ends but the writing, which begins again", async () => {
  lead("serve-2", 5);
  await vi.waitFor(async () => expect((await lease()).spec.holderIdentity).toBe("serve-2"), LIMIT);
  await plane.restartApiServer(2_000);
  const { renewTime } = (await lease()).spec;
  await vi.waitFor(async () => {
    wake();
    expect((await lease()).spec.renewTime > renewTime).toBe(true);
  }, LIMIT);
}, 90_000);

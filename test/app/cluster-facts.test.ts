import { expect, test } from "vitest";
import { eventOf, factOfMove, factsOfRun, lineOf, type ExperimentMove } from "../../src/app/cluster-facts.ts";

const EXPERIMENT = {
  id: "run-1",
  agent: "shop",
  candidate: { name: "shop-4-abc", digest: "sha256:c" },
  stable: { name: "shop-3-def", digest: "sha256:s" },
  weights: [0.05, 0.2, 0.5],
};
const move = (action: string, body: ExperimentMove["body"] = {}): ExperimentMove => ({
  id: 7,
  action,
  atMs: 1_000,
  experiment: EXPERIMENT,
  body,
});

test.each<[ExperimentMove, string, string, string]>([
  [move("experiment_submitted", { state: "gated" }), "GatePassed", "Normal", "shop: shop-4-abc passed the gate, or none is configured"],
  [move("experiment_submitted", { state: "refused" }), "GateRefused", "Warning", "shop: shop-4-abc was refused by the gate"],
  [
    move("experiment_attested", { step: 0 }),
    "CanaryStarted",
    "Normal",
    "shop: shop-4-abc is proven active on every replica, its canary begins with 5.0 %",
  ],
  [move("experiment_ramped", { step: 1 }), "CanaryStep", "Normal", "shop: shop-4-abc goes on with 20.0 % of new conversations"],
  [
    move("experiment_proven", { conclusion: { reason: "quality_proven", detail: "" } }),
    "Promoted",
    "Normal",
    "shop: shop-4-abc is promoted: quality_proven",
  ],
  [
    move("experiment_attestation_lost", { conclusion: { reason: "attestation_lost", detail: "vllm-2" } }),
    "RolledBack",
    "Warning",
    "shop: shop-4-abc is rolled back to shop-3-def: attestation_lost, vllm-2",
  ],
  [move("experiment_timed_out"), "CanaryExpired", "Warning", "shop: shop-4-abc proved neither better nor worse in time, shop-3-def stays"],
])("%#: what happened to a candidate", (moved, reason, type, message) => {
  expect(factOfMove(moved)).toEqual({ id: "audit-7-run-1", atMs: 1_000, reason, type, message });
});

test("what is only bookkeeping is nobody's news", () => {
  expect(factOfMove(move("experiment_enqueued"))).toBeNull();
});

test("a run: that it began, and what came of it", () => {
  const run = { id: "r1", agent: "shop", startedAtMs: 1, finishedAtMs: 2 };
  const ended = (outcome: Parameters<typeof factsOfRun>[0]["outcome"]) => factsOfRun({ ...run, outcome })[1];
  expect(factsOfRun({ ...run, finishedAtMs: null, outcome: null })).toEqual([
    { id: "run-r1-started", reason: "RunStarted", type: "Normal", message: "shop: run r1 began", atMs: 1 },
  ]);
  expect(ended({ kind: "candidate", adapterName: "shop-4" })).toMatchObject({
    reason: "RunEnded",
    type: "Normal",
    message: "shop: run r1 made the candidate shop-4",
    atMs: 2,
  });
  expect(ended({ kind: "nothing_to_learn", reason: "no signal" })).toMatchObject({
    reason: "RunEnded",
    message: "shop: run r1 had nothing to learn: no signal",
  });
  expect(ended({ kind: "no_capacity", reason: "no node has a GPU" })).toMatchObject({
    reason: "NoCapacity",
    type: "Warning",
    message: "shop: run r1 ended: no node has a GPU",
  });
  expect(ended({ kind: "failed", message: "the trainer ended" })).toMatchObject({
    reason: "RunFailed",
    type: "Warning",
    message: "shop: run r1 ended: the trainer ended",
  });
});

test("the same fact is the same event, with a name that the API server takes", () => {
  const fact = {
    id: "run-r1-started",
    reason: "RunStarted",
    type: "Normal" as const,
    message: "m".repeat(2_000),
    atMs: Date.UTC(2026, 10, 22, 3, 4, 5, 678),
  };
  const regarding = { name: "r-nightshift-serve", namespace: "agents", uid: "uid-1" };
  const event = eventOf(fact, regarding, "serve-0") as { message: string; metadata: { name: string } };
  expect(event).toEqual(eventOf(fact, regarding, "serve-0"));
  expect(event).toMatchObject({
    metadata: { namespace: "agents" },
    involvedObject: { kind: "Lease", ...regarding },
    firstTimestamp: "2026-11-22T03:04:05Z",
    lastTimestamp: "2026-11-22T03:04:05Z",
    count: 1,
  });
  expect(event.metadata.name).toMatch(/^r-nightshift-serve\.[0-9a-f]{16}$/);
  expect(event.message).toHaveLength(1_000);
  expect((eventOf({ ...fact, id: "other" }, regarding, "serve-0") as typeof event).metadata.name).not.toBe(event.metadata.name);
});

test("an agent in one line", () => {
  const live = { ...EXPERIMENT, state: "canary", step: 1 } as const;
  const ended = { ...live, state: "rolled_back" } as const;
  expect(lineOf({ stable: EXPERIMENT.stable, experiments: [live], run: { id: "r1" } })).toBe(
    "stable shop-3-def; canary shop-4-abc at 20.0 %, step 2 of 3; run r1",
  );
  expect(lineOf({ stable: EXPERIMENT.stable, experiments: [ended], run: null })).toBe(
    "stable shop-3-def; last canary shop-4-abc rolled_back; no run",
  );
  expect(lineOf({ stable: null, experiments: [], run: null })).toBe("stable unknown; no canary yet; no run");
});

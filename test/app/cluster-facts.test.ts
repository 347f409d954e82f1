import { expect, test } from "vitest";
import { nightshiftError, type NightshiftError } from "../../src/errors.ts";
import { jobStatus } from "../../src/training/job-status.ts";
import {
  eventOf,
  factOfAlarm,
  factOfMove,
  factOfSilence,
  factOfTerm,
  factsOfRun,
  lineOf,
  type ExperimentMove,
} from "../../src/app/cluster-facts.ts";
import type { GateDecision } from "../../src/promotion/gate.ts";

const GATE: GateDecision = {
  ...{ decision: "pass", reason: "proven", kPromote: 41, kHarm: 1, threshold: 20, units: 40, pairs: 44, wins: 28, losses: 6, ties: 10 },
  ...{ meanX: 0.7, maskedShare: 0, unjudgedShare: 0, firstSlotShare: 0.5, disagreementShare: 0, unitsNeeded: 0 },
};
const EXPERIMENT = {
  gate: null,
  id: "run-1",
  agent: "shop",
  candidate: { name: "shop-4-abc", digest: "sha256:c" },
  stable: { name: "shop-3-def", digest: "sha256:s" },
  weights: [0.05, 0.2, 0.5],
};
const move = (action: string, body: ExperimentMove["body"] = {}, gate: GateDecision | null = null): ExperimentMove => ({
  id: 7,
  action,
  atMs: 1_000,
  experiment: { ...EXPERIMENT, gate },
  body,
});

test.each<[ExperimentMove, string, string, string]>([
  [move("experiment_submitted", { state: "gated" }), "GatePassed", "Normal", "shop: shop-4-abc goes on: no gate is configured"],
  [
    move("experiment_submitted", { state: "gated" }, GATE),
    "GatePassed",
    "Normal",
    "shop: shop-4-abc passed the gate: 28 pairs won, 6 lost, 10 equal",
  ],
  [
    move("experiment_submitted", { state: "refused" }, { ...GATE, decision: "insufficient", reason: "not_proven", unitsNeeded: 65 }),
    "GateRefused",
    "Warning",
    "shop: shop-4-abc was refused by the gate: not_proven, 28 pairs won, 6 lost, 10 equal; about 65 more units would be needed at this rate",
  ],
  [
    move("experiment_submitted", { state: "refused" }, { ...GATE, decision: "refuse", reason: "harm", unitsNeeded: null }),
    "GateRefused",
    "Warning",
    "shop: shop-4-abc was refused by the gate: harm, 28 pairs won, 6 lost, 10 equal",
  ],
  [
    move("experiment_submitted", { state: "refused" }, { ...GATE, decision: "insufficient", reason: "not_proven", unitsNeeded: Infinity }),
    "GateRefused",
    "Warning",
    "shop: shop-4-abc was refused by the gate: not_proven, 28 pairs won, 6 lost, 10 equal",
  ],
  [
    move("experiment_attested", { step: 0 }),
    "CanaryStarted",
    "Normal",
    "shop: shop-4-abc is proven active on every replica, its canary begins with 5.0 %",
  ],
  [move("experiment_ramped", { step: 1 }), "CanaryStep", "Normal", "shop: shop-4-abc goes on with 20.0 % of new conversations"],
  [
    move("experiment_awaits_operator"),
    "PromotionWaits",
    "Warning",
    "shop: shop-4-abc is proven and waits for an operator, since its judge is not calibrated, agrees too little with people or was forced: nightshift promote",
  ],
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
  [
    move("experiment_harmed", { conclusion: { reason: "harm", detail: "success rate" } }),
    "RolledBack",
    "Warning",
    "shop: shop-4-abc is rolled back to shop-3-def: harm, success rate",
  ],
  [
    move("experiment_timed_out", { from: "canary" }),
    "CanaryExpired",
    "Warning",
    "shop: shop-4-abc proved neither better nor worse in time, shop-3-def stays",
  ],
  [
    move("experiment_timed_out", { from: "attesting" }),
    "CanaryExpired",
    "Warning",
    "shop: shop-4-abc was not proven active on every replica in time, shop-3-def stays",
  ],
  [move("experiment_rebased"), "Superseded", "Warning", "shop: shop-4-abc is out: the base model or its chat template is another one now"],
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

test("a trainer that was killed for its memory, and a night without a node: the event has the reason and the fix", () => {
  const pods = {
    metadata: { name: "nightshift-r1-x", creationTimestamp: "2026-11-22T01:00:00Z" },
    status: {
      phase: "Failed",
      containerStatuses: [
        { name: "trainer", state: { terminated: { exitCode: 137, reason: "OOMKilled", finishedAt: "2026-11-22T02:00:00Z" } } },
      ],
    },
  };
  const failed = { type: "Failed", status: "True", reason: "BackoffLimitExceeded", message: "Job has reached the specified backoff limit" };
  const job = {
    metadata: { name: "nightshift-r1", uid: "u", creationTimestamp: "2026-11-22T01:00:00Z" },
    status: { startTime: "2026-11-22T01:00:00Z", conditions: [failed] },
  };
  const status = jobStatus({ job, pods: [pods] }, { nowMs: Date.UTC(2026, 10, 22, 3), unschedulableAfterMs: 60_000 });
  if (status.status !== "failed") throw new Error(status.status);
  const run = { id: "r1", agent: "shop", startedAtMs: 1, finishedAtMs: 2 };
  const told = (error: NightshiftError, kind: "failed" | "no_capacity"): string | undefined => {
    const { message, fix } = error;
    return factsOfRun({ ...run, outcome: kind === "failed" ? { kind, message, fix } : { kind, reason: message, fix } })[1]?.message;
  };
  const killed = told(nightshiftError("trainer_failed", { run: "r1", exitCode: status.exitCode, detail: status.detail }), "failed");
  expect(killed).toMatch(
    /^shop: run r1 ended: the trainer of run r1 ended with exit code 137: .*OOMKilled\): raise resources\.limits\.memory/,
  );
  expect(killed).toMatch(/; fix: 64 is a bad config/);
  const detail = "no node takes pod nightshift-r1-x: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu";
  expect(told(nightshiftError("trainer_no_capacity", { run: "r1", waitedMs: 14_400_000, detail }), "no_capacity")).toMatch(
    /found no place to run for 240 minutes: no node takes pod .*Insufficient nvidia\.com\/gpu; fix: .*Free or add a node/,
  );
});

test("what waits for a person: an alarm about rewards, a trainer that is silent; and that a term begins", () => {
  expect(factOfAlarm({ runId: "r1", id: "length", agent: "shop", raisedAtMs: 5 })).toEqual({
    ...{ id: "alarm-r1-length", atMs: 5, reason: "AlarmRaised", type: "Warning" },
    message:
      "shop: run r1 is rewarded for something beside the task (length); its candidate waits until somebody has looked: nightshift alarms list",
  });
  expect(factOfSilence({ id: 3, runId: "r1", agent: "shop", silentMs: 121_000, atMs: 7 })).toEqual({
    ...{ id: "audit-3-r1", atMs: 7, reason: "TrainerSilent", type: "Warning" },
    message:
      "shop: the trainer of run r1 has given no heartbeat for 121 s; nothing is started beside it, look at its pod: deleting it starts the next one from the checkpoint",
  });
  const lead = factOfTerm({ name: "serve-1", epoch: 4, sinceMs: 9 });
  expect(lead).toEqual({
    id: "term-4",
    atMs: 9,
    reason: "LeaderElected",
    type: "Normal",
    message: expect.stringMatching(/^serve-1 leads/),
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

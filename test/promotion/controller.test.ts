import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { applyEvidence, newFold } from "../../src/promotion/evidence.ts";
import type { Database } from "../../src/store/database.ts";
import { QUICKSTART } from "../bench/canary/simulate.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { BASE, canaryWorld, type CanaryWorld } from "./canary-world.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

let worlds = 0;
const open = (seed = 1): Promise<CanaryWorld> => canaryWorld(database, { agent: `agent-${++worlds}`, seed });
/** Experiment ids are unique in the database; the agent's name makes them so. */
const idOf = (world: CanaryWorld, name: string) => `${world.agent}-${name}`;
const auditOf = async (id: string) =>
  (await database.kysely.selectFrom("audit").select(["action", "actor"]).where("subject", "=", id).orderBy("id").execute()).map(
    ({ action, actor }) => `${action} ${actor}`,
  );

test("a better candidate: attested, ramped, promoted once, all keys on it afterwards", async () => {
  const world = await open();
  const id = idOf(world, "a");
  await world.submit(id);
  await world.run(world.controller());
  const experiment = await world.store.get(id);
  expect(experiment).toMatchObject({ state: "promoted", step: 1, conclusion: { action: "promote", reason: "quality_proven" } });
  expect(experiment?.conclusion?.decision?.numbers.kPromote).toBeGreaterThanOrEqual(20);
  expect(await world.router.routes(world.agent)).toMatchObject({
    stable: { digest: `sha256:${id}` },
    candidate: null,
    experimentId: null,
  });
  expect(await auditOf(id)).toEqual([
    "experiment_submitted controller",
    "experiment_enqueued controller",
    "experiment_slot_free controller",
    "experiment_attested controller",
    "experiment_ramped controller",
    "experiment_proven controller",
  ]);
});

test("a worse candidate is rolled back for harm; stable never left", async () => {
  const world = await open(2);
  world.success.stable = 0.85;
  world.success.candidate = 0.5;
  const id = idOf(world, "a");
  await world.submit(id);
  await world.run(world.controller());
  expect(await world.store.get(id)).toMatchObject({ state: "rolled_back", conclusion: { action: "rollback", reason: "harm" } });
  expect(await world.router.routes(world.agent)).toMatchObject({ stable: BASE, candidate: null, experimentId: null });
});

test("an undecided candidate expires at its cap, and one without traffic at its deadline", async () => {
  const world = await open(3);
  world.success.candidate = world.success.stable;
  await world.submit(idOf(world, "capped"), { canary: { ...QUICKSTART, maxUnits: 60 } });
  await world.run(world.controller());
  expect(await world.store.get(idOf(world, "capped"))).toMatchObject({ state: "expired", conclusion: { reason: "cap_reached" } });

  const quiet = idOf(world, "quiet");
  await world.submit(quiet, { canary: { ...QUICKSTART, deadlineMs: 5000 } });
  const controller = world.controller();
  expect(await controller.reconcile(world.agent)).toMatchObject({ status: "live", state: "canary" });
  world.clock.nowMs += 5000;
  expect(await controller.reconcile(world.agent)).toEqual({ status: "idle" });
  expect(await world.store.get(quiet)).toMatchObject({ state: "expired", conclusion: { reason: "deadline_reached" } });
});

test("a guardrail stops a candidate whose answers are right but whose tools fail", async () => {
  const world = await open(4);
  const id = idOf(world, "a");
  await world.submit(id, { canary: { ...QUICKSTART, mode: "non-inferior", delta: 0.05, lambda0: 0.01 } });
  const controller = world.controller();
  for (let round = 0; round < 60 && (await controller.reconcile(world.agent)).status === "live"; round++) {
    await world.traffic(5, (unit) => ({ ...unit, outcome: 1, errors: { tool_failure: unit.arm === "candidate" } }));
  }
  expect(await world.store.get(id)).toMatchObject({ state: "rolled_back", conclusion: { reason: "guardrail", detail: "tool_failure" } });
});

describe("attestation", () => {
  test("no weight before every replica has proved it", async () => {
    const world = await open(5);
    world.replicas.set("replica-2", false);
    await world.submit(idOf(world, "a"));
    const controller = world.controller();
    expect(await controller.reconcile(world.agent)).toMatchObject({ status: "live", state: "attesting" });
    expect(await world.router.routes(world.agent)).toMatchObject({ candidate: { weight: 0 }, experimentId: idOf(world, "a") });
    world.replicas.set("replica-2", true);
    expect(await controller.reconcile(world.agent)).toMatchObject({ status: "live", state: "canary", step: 0 });
    expect(await world.router.routes(world.agent)).toMatchObject({ candidate: { weight: 0.1 } });
  });

  test("a replica that joins holds a canary back that has not begun, and ends none that runs; what it refuses does", async () => {
    const world = await open(16);
    const id = idOf(world, "a");
    world.replicas.set("replica-2", "new");
    await world.submit(id);
    const controller = world.controller();
    expect(await controller.reconcile(world.agent)).toMatchObject({ status: "live", state: "attesting" });
    world.replicas.set("replica-2", true);
    expect(await controller.reconcile(world.agent)).toMatchObject({ status: "live", state: "canary" });
    world.replicas.set("replica-3", "new");
    // Rescheduled, as its first one was a moment ago.
    world.replicas.set("replica-1", "new");
    expect(await controller.reconcile(world.agent)).toMatchObject({ status: "live", state: "canary" });
    // Scaled down: who is gone has lost nothing.
    world.replicas.delete("replica-2");
    expect(await controller.reconcile(world.agent)).toMatchObject({ status: "live", state: "canary" });
    world.replicas.set("replica-3", false);
    expect(await controller.reconcile(world.agent)).toEqual({ status: "idle" });
    expect(await world.store.get(id)).toMatchObject({
      state: "rolled_back",
      conclusion: { reason: "attestation_lost", detail: "replica-3" },
    });
  });

  test("lost mid-canary: rolled back at once", async () => {
    const world = await open(6);
    const id = idOf(world, "a");
    await world.submit(id);
    const controller = world.controller();
    await world.run(controller, 3);
    world.replicas.set("replica-3", false);
    expect(await controller.reconcile(world.agent)).toEqual({ status: "idle" });
    expect(await world.store.get(id)).toMatchObject({
      state: "rolled_back",
      conclusion: { reason: "attestation_lost", detail: "replica-3" },
    });
    expect(await world.router.routes(world.agent)).toMatchObject({ candidate: null, stable: BASE });
  });

  test("never given: expires without a single key", async () => {
    const world = await open(7);
    world.replicas.clear();
    await world.submit(idOf(world, "a"), { canary: { ...QUICKSTART, deadlineMs: 1000 } });
    const controller = world.controller();
    await controller.reconcile(world.agent);
    world.clock.nowMs += 1000;
    expect(await controller.reconcile(world.agent)).toEqual({ status: "idle" });
    expect(await world.store.get(idOf(world, "a"))).toMatchObject({ state: "expired" });
  });
});

test("queue of one: the newest candidate waits, older ones are superseded, and it starts against the new stable", async () => {
  const world = await open(8);
  const controller = world.controller();
  const [first, second, third] = ["1", "2", "3"].map((name) => idOf(world, name));
  await world.submit(first ?? "");
  await controller.reconcile(world.agent);
  for (const id of [second, third]) {
    world.clock.nowMs += 1;
    await world.submit(id ?? "");
    await controller.reconcile(world.agent);
  }
  expect(await world.store.get(second ?? "")).toMatchObject({ state: "superseded" });
  expect(await world.store.get(third ?? "")).toMatchObject({ state: "queued" });
  for (let round = 0; round < 80 && (await world.store.get(first ?? ""))?.state === "canary"; round++) {
    await world.traffic(5);
    await controller.reconcile(world.agent);
  }
  expect(await world.store.get(first ?? "")).toMatchObject({ state: "promoted" });
  expect(await world.store.get(third ?? "")).toMatchObject({ state: "canary", stable: { digest: `sha256:${first}` } });
});

test("a refused gate never gets a weight, and a retry of a digest runs at half its alpha", async () => {
  const world = await open(9);
  const candidate = { name: "again", digest: "sha256:again" };
  const refused = await world.submit(idOf(world, "a"), { candidate, gate: { decision: "insufficient" } as never });
  expect(refused.state).toBe("refused");
  expect(await world.controller().reconcile(world.agent)).toEqual({ status: "idle" });
  expect((await world.submit(idOf(world, "b"), { candidate })).parameters.alpha).toBe(0.025);
  expect(await world.submit(idOf(world, "b"), { candidate })).toMatchObject({ id: idOf(world, "b"), createdAtMs: 1_000_000 });
});

describe("operators", () => {
  test("pause takes the weight away, resume gives it back, and who was in conversation leaves the analysis", async () => {
    const world = await open(10);
    const id = idOf(world, "a");
    await world.submit(id);
    const controller = world.controller();
    await controller.reconcile(world.agent);
    await world.traffic(4, (unit) => ({ ...unit, endedAtMs: unit.assignedAtMs + 10_000 }));
    await world.store.act(id, "pause", "rosa");
    expect(await controller.reconcile(world.agent)).toMatchObject({ state: "held" });
    expect(await world.router.routes(world.agent)).toMatchObject({ candidate: { weight: 0 } });
    await world.store.act(id, "resume", "rosa");
    world.clock.nowMs += 20_000;
    const resumed = await controller.reconcile(world.agent);
    expect(resumed).toMatchObject({ state: "canary", fold: { canary: { units: 0 }, excluded: { open_at_step: 4 } } });
    expect(await world.router.routes(world.agent)).toMatchObject({ candidate: { weight: 0.1 } });
    expect(await auditOf(id)).toContain("operator_pause rosa");
  });

  test("promote and undo: stable goes forth and back", async () => {
    const world = await open(11);
    const id = idOf(world, "a");
    await world.submit(id, { automatic: false });
    const controller = world.controller();
    await world.run(controller, 40);
    // Proven, but an uncalibrated judge promotes nothing on its own.
    expect(await world.store.get(id)).toMatchObject({ state: "canary" });
    // Which is written down once, whoever looks: the next leader knows nothing of what this one has told.
    await world.controller().reconcile(world.agent);
    const awaited = (await auditOf(id)).filter((line) => line.startsWith("experiment_awaits"));
    expect(awaited).toEqual(["experiment_awaits_operator controller"]);
    await world.store.act(id, "promote", "rosa");
    expect(await controller.reconcile(world.agent)).toEqual({ status: "idle" });
    expect(await world.router.routes(world.agent)).toMatchObject({ stable: { digest: `sha256:${id}` } });
    // One that waits is taken out whatever was promoted before it.
    await world.store.act((await world.submit(idOf(world, "b"))).id, "supersede", "rosa");
    expect(await world.store.get(idOf(world, "b"))).toMatchObject({ state: "superseded" });
    await world.store.act(id, "rollback", "rosa");
    await controller.reconcile(world.agent);
    expect(await world.router.routes(world.agent)).toMatchObject({ stable: BASE, candidate: null });
    await expect(world.store.act(id, "pause", "rosa")).rejects.toMatchObject({ code: "action_refused" });
    await expect(world.store.act("nothing", "pause", "rosa")).rejects.toMatchObject({ code: "experiment_unknown" });
  });
});

describe("units", () => {
  test("wait for their outcome in assignment order, count a key once, and leave out what came late", async () => {
    const world = await open(12);
    const id = idOf(world, "a");
    await world.submit(id);
    const controller = world.controller();
    await controller.reconcile(world.agent);
    await world.traffic(6, (unit) => (unit.key.endsWith("-2") ? { ...unit, outcome: null } : unit));
    expect(await controller.reconcile(world.agent)).toMatchObject({ fold: { canary: { units: 2 } } });
    world.clock.nowMs += 60_000;
    expect(await controller.reconcile(world.agent)).toMatchObject({ fold: { canary: { units: 6, missingOutcomes: 1 } } });
    const [first] = world.units;
    if (first === undefined) throw new Error("no traffic");
    world.units.push({ ...first, trajectoryId: "again" }, { ...first, key: "late", trajectoryId: "late" });
    expect(await controller.reconcile(world.agent)).toMatchObject({ fold: { canary: { units: 6 }, excluded: { late: 1 } } });
  });

  test("replaying the log gives the same decision, and the log cannot be rewritten", async () => {
    const world = await open(13);
    const id = idOf(world, "a");
    await world.submit(id);
    await world.run(world.controller());
    const experiment = await world.store.get(id);
    const rows = await world.store.evidence(id, 0);
    if (experiment === null) throw new Error("gone");
    const fold = rows.reduce((sofar, row) => applyEvidence(sofar, row, experiment.parameters), newFold());
    expect(fold.conclusion).toEqual(experiment.conclusion);
    await expect(database.kysely.deleteFrom("evidence").where("experiment_id", "=", id).execute()).rejects.toThrow("append-only");
  });
});

test("traffic that was disturbed leaves the analysis on both arms", async () => {
  const world = await open(14);
  const id = idOf(world, "a");
  await world.submit(id);
  const controller = world.controller();
  await controller.reconcile(world.agent);
  await world.traffic(3, (unit) => ({ ...unit, endedAtMs: unit.assignedAtMs + 10_000 }));
  await world.store.disturbed(id, "lease_lapse", world.clock.nowMs);
  world.clock.nowMs += 20_000;
  await world.traffic(2);
  expect(await controller.reconcile(world.agent)).toMatchObject({ fold: { canary: { units: 2 }, excluded: { open_at_step: 3 } } });
});

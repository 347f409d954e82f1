import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createExperimentStore, type Experiment } from "../../src/promotion/experiment-store.ts";
import type { Database } from "../../src/store/database.ts";
import { QUICKSTART } from "../bench/canary/simulate.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { apiWorld, NOW_MS, type ApiWorld } from "./world.ts";

let database: Database;
let world: ApiWorld;
let nowMs = NOW_MS;

beforeAll(async () => {
  database = await memoryDatabase();
  world = await apiWorld(database);
});
afterAll(async () => {
  await world.close();
  await database.close();
});

function submit(id: string): Promise<Experiment> {
  nowMs += 1;
  return createExperimentStore({ database, now: () => nowMs }).submit({
    ...{ id, tenant: "default", agent: "support", model: "support", runId: null, salt: id, canary: QUICKSTART, horizonMs: 1_000 },
    ...{
      candidate: { name: id, digest: `sha256:${id}` },
      stable: { name: "support", digest: "sha256:base" },
      gate: null,
      automatic: true,
    },
  });
}

describe("an operator's action", () => {
  it("is recorded under the actor's name and wakes the controller; what the state does not allow is a 409", async () => {
    await submit("e1");
    const refused = await world.post("/v1/experiments/e1/actions", { action: "pause", actor: "kim" });
    expect(refused).toMatchObject({ status: 409, body: { error: { code: "action_refused" } } });
    const before = world.woken();
    expect((await world.post("/v1/experiments/e1/actions", { action: "supersede", actor: "kim" })).status).toBe(202);
    expect(world.woken()).toBe(before + 1);
    expect((await world.get("/v1/experiments/e1")).body.state).toBe("superseded");
    const audited = await database.kysely.selectFrom("audit").select(["actor", "action"]).where("subject", "=", "e1").execute();
    expect(audited).toContainEqual({ actor: "kim", action: "operator_supersede" });
    expect((await world.post("/v1/experiments/nope/actions", { action: "pause" })).status).toBe(404);
  });

  it("that rolls back a live experiment takes its candidate out of the routes, whoever leads; one that waits has no say in another's traffic", async () => {
    const store = createExperimentStore({ database, now: () => nowMs });
    const queued = await store.move(await submit("live"), "enqueued", { actor: "test" });
    if (queued.status !== "moved") throw new Error("the queue was empty");
    const moved = await store.move(queued.experiment, "slot_free", { actor: "test" });
    if (moved.status !== "moved") throw new Error("the slot was taken");
    await submit("waiting");
    const { generation, candidate, stable } = moved.experiment;
    const routes = { agent: "support", model: "support", version: 1, generation, stable, experimentId: "live", salt: "s" };
    await world.router.setRoutes({ ...routes, candidate: { ...candidate, weight: 0.5 } });
    const act = (id: string) => world.post(`/v1/experiments/${id}/actions`, { action: "rollback", actor: "kim" });
    await act("waiting");
    expect((await world.router.routes("support"))?.candidate?.weight).toBe(0.5);
    expect((await act("live")).status).toBe(202);
    // Still the experiment's routes: how it ended is for the leader to read from its log.
    expect(await world.router.routes("support")).toMatchObject({
      version: 2,
      experimentId: "live",
      candidate: { name: "live", weight: 0 },
    });
    expect(await world.get("/v1/traffic?agent=support")).toMatchObject({
      body: { agent: "support", stable: { name: "support" }, candidate: { name: "live", weight: 0 } },
    });
    // A turn of the leader that began before has lost its say, in the store and over the routes.
    expect(await store.move(moved.experiment, "attested", { actor: "controller" })).toEqual({ status: "conflict" });
    expect(await world.router.setRoutes({ ...routes, candidate: { ...candidate, weight: 0.5 } })).toMatchObject({ status: "fenced" });
  });
});

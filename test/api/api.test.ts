import { afterAll, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import type { Database } from "../../src/store/database.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { QUICKSTART } from "../bench/canary/simulate.ts";
import { createExperimentStore } from "../../src/promotion/experiment-store.ts";
import { beatTerm, takeTerm } from "../../src/store/leader-record.ts";
import { HEADER } from "../../src/telemetry.ts";
import { redactText } from "../../src/trace/redact.ts";
import { apiWorld, NOW_MS, REDACTION_KEY, type ApiWorld } from "./world.ts";

let database: Database;
let world: ApiWorld;

beforeAll(async () => {
  database = await memoryDatabase();
  world = await apiWorld(database, { agent: { gate: { enabled: false }, night: { sabotage: "invert_rewards" } } });
});
afterAll(async () => {
  await world.close();
  await database.close();
});
beforeEach(async () => {
  for (const table of ["feedback", "run_steps", "judge_spending", "groups", "runs", "routes", "experiments"] as const) {
    await database.kysely.deleteFrom(table).execute();
  }
});

test("what matches no agent can be reported like one", async () => {
  const { status, body } = await world.get("/v1/report?agent=unknown");
  expect(status).toBe(200);
  expect(body).toMatchObject({ captured: expect.any(Number) as number, unmatched: expect.any(Number) as number });
  expect((await world.get("/v1/report?agent=unknown&tenant=nobody")).status).toBe(404);
});

describe("errors", () => {
  it.each([
    { path: "/v1/nothing", code: "not_found" },
    { path: "/v1/runs/r", code: "not_found" },
    { path: "/v1/trajectories/t", code: "not_found" },
    { path: "/v1/groups/g", code: "not_found" },
    { path: "/v1/adapters/a", code: "not_found" },
    { path: "/v1/lineage/x", code: "not_found" },
    { path: "/v1/experiments/e", code: "not_found" },
    { path: "/v1/report?agent=nobody", code: "not_found" },
  ])("$path is a 404 with a fix", async ({ path, code }) => {
    const { status, body } = await world.get(path);
    expect(status).toBe(404);
    expect(body).toEqual({ error: { code, message: expect.stringMatching(/\S/), fix: expect.stringMatching(/\S/) } });
  });

  it.each([
    { path: "/v1/report", says: /^the request is not valid: agent: / },
    { path: "/v1/runs?limit=0", says: /limit: / },
    { path: "/v1/runs?limit=many", says: /limit: / },
    { path: "/v1/runs?limt=1", says: /Unrecognized key: "limt"/ },
    { path: "/v1/routes?agent=support&waitMs=60000", says: /waitMs: / },
  ])("$path is a 400 that names the part", async ({ path, says }) => {
    const { status, body } = await world.get(path);
    expect(status).toBe(400);
    expect(body.error).toMatchObject({ code: "request_invalid", message: expect.stringMatching(says) });
  });

  it("of a body that is not JSON, and of one that is too large", async () => {
    expect((await world.post("/v1/runs", "{")).body.error.message).toBe("the request is not valid: the body is not JSON");
    const large = await world.post("/v1/feedback", `"${"x".repeat(33 * 1024 * 1024)}"`);
    expect(large.status).toBe(400);
    expect(large.body.error.message).toMatch(/larger than 33554432 bytes/);
  });
});

describe("runs", () => {
  it("start once: the second is a 409 that names the first", async () => {
    const first = await world.post("/v1/runs", { agent: "support" });
    expect(first.status).toBe(202);
    const second = await world.post("/v1/runs", { agent: "support" });
    expect(second.status).toBe(409);
    expect(second.body.error).toMatchObject({ code: "run_in_progress", message: expect.stringContaining(first.body.runId) });
  });

  it("begin once for a key, whoever asks again and when", async () => {
    const ask = (key: string) => world.post("/v1/runs", { agent: "support", key });
    const first = await ask("job-1");
    expect(first).toMatchObject({ status: 202, body: { isNew: true, before: 0 } });
    const { runId } = first.body as { runId: string };
    expect(await ask("job-1")).toMatchObject({ status: 200, body: { runId, isNew: false } });
    expect((await ask("job-2")).body.error).toMatchObject({ code: "run_in_progress" });
    await world.runs.finish(runId, "finished", { kind: "nothing_to_learn", reason: "no signal" }, 2_000);
    expect(await ask("job-1")).toMatchObject({ status: 200, body: { runId, isNew: false } });
    const next = await ask("job-2");
    expect(next).toMatchObject({ status: 202, body: { isNew: true } });
    expect(next.body.runId).not.toBe(runId);
  });

  it("are shown with their steps, their iterations and the gate's pairs counted", async () => {
    const { runId } = (await world.post("/v1/runs", { agent: "support" })).body as { runId: string };
    await world.runs.step(runId, "select", () => Promise.resolve({ trajectories: [1, 2, 3], trainScenarios: 2 }));
    await world.runs.step(runId, "gate-s1-0", () => Promise.resolve({ pair: true }));
    const group = (id: string, iteration: number, verdict: string, mean: number | null) => ({
      ...{ id, run_id: runId, iteration, scenario_id: id, body_digest: "sha256:x" },
      summary: JSON.stringify({ verdict, mean }),
    });
    await database.kysely
      .insertInto("groups")
      .values([
        ...[
          group("a", 1, "kept", 0.5),
          group("b", 1, "kept", 0.7),
          group("c", 1, "equal_rewards", 0.9),
          group("d", 1, "judge_unavailable", null),
        ],
        group("e", 2, "identical_members", null),
      ])
      .execute();
    await database.kysely
      .insertInto("judge_spending")
      .values({ run_id: runId, role: "reward", model: "j", input_tokens: 7, output_tokens: 1, max_tokens: 8, max_cost: null, refused: 3 })
      .execute();
    const { body } = await world.get(`/v1/runs/${runId}`);
    expect(body.judgeSpending).toEqual([
      {
        ...{ role: "reward", model: "j", inputTokens: 7, outputTokens: 1, cost: 0, reservedTokens: 0, reservedCost: 0 },
        ...{ maxTokens: 8, maxCost: null, refused: 3 },
      },
    ]);
    expect(body.steps).toMatchObject([{ step: "select", output: { trajectories: 3, trainScenarios: 2 } }]);
    expect(body.gatePairs).toEqual({ begun: 1, finished: 1 });
    expect(body.iterations).toEqual([
      { iteration: 1, groups: 4, kept: 2, dropped: { equal_rewards: 1, judge_unavailable: 1 }, meanReward: expect.closeTo(0.7, 10) },
      { iteration: 2, groups: 1, kept: 0, dropped: { identical_members: 1 }, meanReward: null },
    ]);
    // What an older version stored lacks what it did not know.
    const { groups } = (await world.get(`/v1/groups?run=${runId}`)).body as { groups: { summary: object }[] };
    expect(groups[0]?.summary).toMatchObject({ verdict: "kept", judge: null, spreads: [], anchorReward: null, independent: null });
  });
});

describe("feedback", () => {
  const item = (value: unknown, extra: object = {}) => ({
    target: { kind: "conversation", id: "c-1" },
    name: "task_success",
    value,
    ...extra,
  });

  it("is redacted like telemetry: a customer's address finds the pseudonym that spans have, texts lose theirs, and numbers of traces stay", async () => {
    const trace = "4242424242424242".repeat(2);
    const demonstration = [
      { role: "user", parts: [{ type: "text", content: "I am anna@example.com" }] },
      { role: "assistant", parts: [{ type: "text", content: "Hello" }] },
    ];
    const items = [
      { target: { kind: "subject", id: "anna@example.com" }, name: "a", value: true, explanation: "told by anna@example.com" },
      { target: { kind: "trace", id: trace }, name: "b", value: { demonstration } },
      { target: { kind: "response", id: "r" }, name: "c", value: { demonstration: demonstration.slice(0, 1) } },
    ];
    const refused = await world.post("/v1/feedback", { agent: "support", items });
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toContain("items.2.value: a demonstration ends with the assistant's message");
    const otherForm = { ...items[1], value: { demonstration: [{ role: "assistant", content: "Hello" }] } };
    const misread = await world.post("/v1/feedback", { agent: "support", items: [otherForm] });
    expect(misread.body.error.message).toContain(
      'items.0.value: not a boolean, a number, a text or {"demonstration": [{"role": …, "parts"',
    );
    expect((await world.post("/v1/feedback", { agent: "support", items: items.slice(0, 2) })).status).toBe(202);
    const rows = await database.kysely.selectFrom("feedback").selectAll().orderBy("name").execute();
    const address = await redactText("anna@example.com", REDACTION_KEY);
    expect(address).toMatch(/^<email_[a-z2-7]{8}>$/);
    expect(rows).toMatchObject([
      { target_kind: "subject", target: address, value: { value: true, explanation: `told by ${address}` } },
      { target_kind: "trace", target: trace },
    ]);
    expect(JSON.stringify(rows[1]?.value)).toBe(JSON.stringify({ value: { demonstration } }).replace("anna@example.com", address));
  });

  it("is stored; of two on one target the later stays, whatever came first", async () => {
    const send = (items: unknown[]) => world.post("/v1/feedback", { agent: "support", items });
    expect(await send([item(true, { atMs: 2_000 })])).toMatchObject({ status: 202, body: { recorded: 1 } });
    expect((await send([item(false, { atMs: 1_000 })])).status).toBe(202);
    expect((await send([item(0.5, { name: "quality" })])).status).toBe(202);
    const rows = await database.kysely.selectFrom("feedback").selectAll().orderBy("name").execute();
    expect(rows).toMatchObject([
      { tenant: "default", name: "quality", source: "api", target: "c-1", value: { value: 0.5 }, at_ms: NOW_MS },
      { name: "task_success", value: { value: true }, at_ms: 2_000 },
    ]);
  });

  it.each([
    { name: "no items", items: [] },
    { name: "an unknown target", items: [item(true, { target: { kind: "user", id: "u" } })] },
    { name: "a value that is none", items: [item(null)] },
    { name: "an unknown key", items: [item(true, { colour: "red" })] },
    { name: "one bad among good", items: [item(true), item({})] },
  ])("with $name is refused whole", async ({ items }) => {
    expect((await world.post("/v1/feedback", { agent: "support", items })).status).toBe(400);
    expect(await database.kysely.selectFrom("feedback").select("name").execute()).toEqual([]);
  });
});

describe("routes", () => {
  const routes = (version: number) => ({
    ...{ agent: "support", model: "support", version, generation: 0, stable: { name: "support", digest: "sha256:base" } },
    ...{ candidate: null, experimentId: null, salt: null },
  });

  it("are answered at once when they are newer, and with 204 when they are not", async () => {
    await world.router.setRoutes(routes(1));
    expect(await world.get("/v1/routes?agent=support")).toMatchObject({ status: 200, body: { version: 1 } });
    expect((await world.get("/v1/routes?agent=support&version=1")).status).toBe(204);
  });

  it("are waited for: a change answers the poll that is open", async () => {
    await world.router.setRoutes(routes(1));
    const polled = world.get("/v1/routes?agent=support&version=1&waitMs=30000");
    // Whether the change comes before or after the poll is open, the poll must see it.
    await world.router.setRoutes(routes(2));
    expect(await polled).toMatchObject({ status: 200, body: { version: 2 } });
  });
});

describe("gateways", () => {
  const routes = {
    ...{ agent: "support", model: "support", version: 1, generation: 0, stable: { name: "support", digest: "sha256:base" } },
    ...{ candidate: null, experimentId: null, salt: null },
  };

  it("hear when the leader last stood by the routes, counted from their request, and nothing before it has", async () => {
    const epoch = await takeTerm(database.kysely, { name: "leader", nowMs: 0 });
    await world.router.setRoutes(routes);
    expect((await world.get("/v1/routes?agent=support")).headers).not.toHaveProperty(HEADER.confirmed);
    await beatTerm(database.kysely, epoch, { support: 1 });
    world.pass(1_000);
    await world.look();
    world.pass(500);
    expect((await world.get("/v1/routes?agent=support")).headers).toMatchObject({ [HEADER.confirmed]: "-1500", connection: "close" });
  });

  it("are sent away by a replica that has not seen the database for long", async () => {
    await world.router.setRoutes(routes);
    expect((await world.get("/ready")).status).toBe(200);
    world.pass(5_000);
    for (const path of ["/ready", "/v1/routes?agent=support"]) {
      expect(await world.get(path)).toMatchObject({ status: 503, body: { error: { code: "store_unavailable" } } });
    }
    expect((await world.get("/v1/routes?agent=support")).headers["connection"]).toBe("close");
    await world.look();
    expect((await world.get("/ready")).status).toBe(200);
  });

  it("tell what disturbed them; without a live experiment it is nobody's concern", async () => {
    const told = { agent: "support", cause: "lease_lapse", agoMs: 20.5 };
    expect(await world.post("/v1/disturbances", told)).toMatchObject({ status: 202, body: { experimentId: null } });
    expect((await world.post("/v1/disturbances", { ...told, agent: "nobody" })).status).toBe(404);
    expect((await world.post("/v1/disturbances", { ...told, cause: "boredom" })).status).toBe(400);
  });
});

describe("status", () => {
  it("says who answers and who leads", async () => {
    await takeTerm(database.kysely, { name: "another", nowMs: 7 });
    await world.look();
    expect((await world.get("/v1/status")).body.control).toEqual({ answeredBy: "this-one", role: "leader", leader: null, retention: null });
    const epoch = await takeTerm(database.kysely, { name: "this-one", nowMs: 8 });
    await world.look();
    expect((await world.get("/v1/status")).body.control.leader).toEqual({ name: "this-one", epoch, sinceMs: 8 });
  });

  it("says what no reader of the numbers may miss", async () => {
    const { agents } = (await world.get("/v1/status")).body;
    expect(agents).toMatchObject([
      {
        ...{ agent: "support", judge: null, pairJudge: null, gateEnabled: false, sabotage: "invert_rewards", promotesOnItsOwn: false },
        ...{ stable: { name: "support", digest: "sha256:base" }, run: null, experiment: null },
        funnel: { captured: 0, complete: 0, trainable: 0, reasons: {} },
      },
    ]);
  });

  it("shows the experiment that takes traffic, not the newer one that waits behind it", async () => {
    let nowMs = NOW_MS;
    const store = createExperimentStore({ database, now: () => nowMs });
    const submit = (id: string) => {
      nowMs += 1;
      return store.submit({
        ...{ id, tenant: "default", agent: "support", model: "support", runId: null, salt: id, canary: QUICKSTART, horizonMs: 1_000 },
        ...{
          candidate: { name: id, digest: `sha256:${id}` },
          stable: { name: "support", digest: "sha256:base" },
          gate: null,
          automatic: true,
        },
      });
    };
    const queued = await store.move(await submit("first"), "enqueued", { actor: "test" });
    if (queued.status !== "moved") throw new Error("the queue was empty");
    await store.move(queued.experiment, "slot_free", { actor: "test" });
    await submit("second");
    const { agents } = (await world.get("/v1/status")).body;
    expect(agents[0].experiment).toMatchObject({ id: "first", state: "attesting", weight: 0, numbers: null });
  });
});

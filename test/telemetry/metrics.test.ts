import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataPointType } from "@opentelemetry/sdk-metrics";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startCapture } from "../../src/app/capture.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { startLoop } from "../../src/app/loop.ts";
import { parseConfig } from "../../src/config.ts";
import { nightshiftError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { SCOPE } from "../../src/telemetry.ts";
import { METRIC, METRIC_ATTRIBUTE, type MetricDefinition } from "../../src/telemetry/metrics.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { awaitAdapter } from "../../src/training/trainer-output.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import { protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { canaryWorld } from "../promotion/canary-world.ts";
import { completion, echo, sendJson, sendUnknownModel, startUpstream } from "../serving/fake-upstream.ts";
import { CANDIDATE, experiment, STABLE, startGateway } from "../serving/gateway-fixture.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { DATA_POINT, meterInMemory, pointsOf } from "./metered.ts";
import * as parts from "./parts.ts";
import { checkLease } from "./gateway-part.ts";
import { checkReplay } from "./replay-part.ts";
import { checkDisk, checkState } from "./state-part.ts";
import { checkPlaces } from "./trainer-part.ts";

// Before anything else: components create their instruments when they are created.
const meter = meterInMemory();
const directory = mkdtempSync(join(tmpdir(), "nightshift-metrics-"));
const [artifacts, log] = [createFileArtifactStore({ dir: directory }), silentLog()];
let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(async () => {
  await meter.close();
  await database.close();
  rmSync(directory, { recursive: true });
});

test("capture: what was accepted and rejected, how requests ended, what was stored, and the verdicts", async () => {
  const config = { ...parseConfig({ collector: { port: 0 }, capture: { graceMs: 0 } }), dataDir: directory };
  const transport = createInlineTransport({ log });
  let aheadMs = 0;
  const capture = await startCapture(config, { database, transport, artifacts, log, now: () => Date.now() + aheadMs });
  const post = (path: string, body: Uint8Array | string) =>
    fetch(`http://127.0.0.1:${capture.port}${path}`, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf" },
      body: body as string,
    });
  const call = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.input.messages": '[{"role":"user","content":"hi"}]',
    note: "anna@example.com",
  };
  const body = protobuf(traceRequest([spanJson({ attributes: call }), spanJson({ spanId: "" })]));
  await post("/v1/traces", body);
  await post("/v1/traces", body);
  await post("/v1/logs", "junk");
  await post("/v1/metrics", "");
  await post("/v1/elsewhere", "");
  aheadMs = 1_000;
  await capture.sweep();
  await capture.close();

  expect(await meter.points("nightshift.collector.records")).toEqual([
    { attributes: { "nightshift.signal": "traces", "nightshift.outcome": "accepted" }, value: 2 },
    { attributes: { "nightshift.signal": "traces", "nightshift.outcome": "rejected" }, value: 2 },
  ]);
  expect(await meter.points("nightshift.collector.request.duration")).toEqual([
    { attributes: { "nightshift.signal": "traces", "nightshift.protocol": "http", "http.response.status_code": 200 }, value: 2 },
    { attributes: { "nightshift.signal": "logs", "nightshift.protocol": "http", "http.response.status_code": 400 }, value: 1 },
    { attributes: { "nightshift.signal": "metrics", "nightshift.protocol": "http", "http.response.status_code": 200 }, value: 1 },
    { attributes: { "nightshift.signal": "unknown", "nightshift.protocol": "http", "http.response.status_code": 404 }, value: 1 },
  ]);
  expect(await meter.points("nightshift.redaction.texts")).toEqual([
    { attributes: { "nightshift.signal": "traces", "nightshift.outcome": "replaced" }, value: 2 },
  ]);
  expect(await meter.points("nightshift.ingest.delay")).toEqual([{ attributes: { "nightshift.signal": "traces" }, value: 2 }]);
  // The second delivery changes nothing, so it stores nothing.
  expect(await meter.points("nightshift.ingest.stored")).toEqual([{ attributes: { "nightshift.signal": "traces" }, value: 1 }]);
  expect(await meter.points("nightshift.assembly.trajectories")).toEqual([
    { attributes: { "nightshift.agent": "unknown", "nightshift.outcome": "untrainable" }, value: 1 },
  ]);
  const reasons = await meter.points("nightshift.assembly.reasons");
  expect(reasons).toContainEqual({ attributes: { "nightshift.agent": "unknown", "nightshift.reason": "unknown_agent" }, value: 1 });
});

test("capture: a record that ingest fails to store is measured with the reason", async () => {
  const config = { ...parseConfig({ collector: { port: 0 } }), dataDir: directory };
  const transport = createInlineTransport({ log });
  const capture = await startCapture(config, { database, transport, artifacts, log, now: Date.now });
  const record = { signal: "traces", body: new Uint8Array(), encoding: "identity", redacted: true, receivedAtMs: Date.now() } as const;
  await expect(transport.publish({ ...record, tenant: "nobody" })).rejects.toMatchObject({ code: "tenant_unknown" });
  await capture.close();
  const attributes = { "nightshift.signal": "traces", "error.type": "tenant_unknown" };
  expect(await meter.points("nightshift.ingest.delay")).toContainEqual({ attributes, value: 1 });
});

test("control: whether this replica leads, and not when its term is over; what it erased or did not store any more, and what had become too old", async () => {
  const values = await parts.measureElection(database, () => meter.points("nightshift.control.leader"));
  expect(values.map((points) => points.map(({ value }) => value))).toEqual([[1], [0]]);
  await parts.measureUpkeep({ database, artifacts });
  await parts.measureRefused({ database, artifacts, dataDir: directory });
  expect(await meter.points("nightshift.ingest.refused")).toEqual([{ attributes: { "nightshift.signal": "traces" }, value: 1 }]);
  expect(await meter.points("nightshift.erasures")).toEqual([{ attributes: {}, value: 1 }]);
  expect(await meter.points("nightshift.retention.removed")).toEqual([{ attributes: { "nightshift.kind": "feedback" }, value: 1 }]);
});

test("transport: Kafka records that were put aside, by why, and how far the group is behind", async () => {
  await parts.measureKafka();
  const of = (signal: string, value: number, more = {}) => ({ attributes: { "nightshift.signal": signal, ...more }, value });
  expect(await meter.points("nightshift.transport.dead_letters")).toEqual([of("traces", 1, { "error.type": "otlp_malformed" })]);
  expect(await meter.points("nightshift.transport.lag")).toEqual([of("traces", 12), of("logs", 3)]);
});

test("gateway: requests by who answered, failovers, fallbacks, and capture that was lost", async () => {
  const dead = await startUpstream(echo);
  await dead.close();
  const alive = await startUpstream((request, response) => {
    const model = String(request.body["model"]);
    return model === CANDIDATE.name ? sendUnknownModel(response, model) : sendJson(response, completion(model));
  });
  await using gateway = await startGateway({ upstreams: [dead, alive], routes: experiment(1), sendSpans: () => Promise.resolve("down") });
  expect((await gateway.chat("key")).status).toBe(200);
  gateway.routes.receive(experiment(0, { version: 2 }));
  expect((await gateway.chat("other")).status).toBe(200);
  expect((await gateway.chat("other")).status).toBe(200);
  await Promise.all([gateway.close(), alive.close()]);

  const agent = { "nightshift.agent": "shop" };
  const answered = { ...agent, "nightshift.adapter.name": STABLE.name, "http.response.status_code": 200 };
  expect(await meter.points("nightshift.gateway.requests")).toEqual([
    { attributes: { ...answered, "nightshift.assignment.arm": "candidate" }, value: 1 },
    { attributes: { ...answered, "nightshift.assignment.arm": "stable" }, value: 2 },
  ]);
  expect(await meter.points("nightshift.gateway.added_latency")).toEqual([{ attributes: agent, value: 3 }]);
  expect(await meter.points("nightshift.gateway.fallbacks")).toEqual([
    { attributes: { ...agent, "nightshift.reason": "candidate_not_found" }, value: 1 },
  ]);
  const failovers = await meter.points("nightshift.gateway.failovers");
  expect(failovers).toEqual([{ attributes: { ...agent, "nightshift.reason": "unreachable" }, value: 3 }]);
  const spans = await meter.points("nightshift.gateway.capture.lost");
  expect(spans).toEqual([{ attributes: { "nightshift.reason": "export_failed" }, value: 3 }]);
});

test("gateway: the weight that is in force, the age of its lease, and a lease that lapses once", () => checkLease(meter));

test("replica: adapters by state", async () => {
  const state = { isDown: false };
  const agent = parts.adapterAgent(state, parts.UP);
  agent.want([parts.UP, { name: "shop-2-bbbbbbbbbbbb", digest: "sha256:b" }]);
  const count = async () =>
    Object.fromEntries(
      (await meter.points("nightshift.replica.adapters")).map(({ attributes, value }) => [attributes["nightshift.adapter.state"], value]),
    );
  await agent.reconcile();
  expect(await count()).toEqual({ attested: 1, waiting: 1, refused: 0 });
  state.isDown = true;
  await agent.reconcile();
  expect(await count()).toEqual({ attested: 0, waiting: 2, refused: 0 });
  // Whoever looks after the replica from now on tells of it.
  await agent.run({ signal: AbortSignal.abort() });
  expect(await count()).toEqual({ attested: 0, waiting: 0, refused: 0 });
});

test("night: steps by kind, the outcome once, and the loops that drive it", async () => {
  const runs = createRunStore(database, () => 5_000);
  await runs.create({ id: "run", tenant: "default", agent: "shop", plan: {}, nowMs: 0 });
  await runs.step("run", "train-1", () => Promise.resolve({}));
  await runs.step("run", "train-1", () => Promise.resolve({}));
  await expect(
    runs.step("run", "gate-s-0", () => Promise.reject(nightshiftError("trainer_silent", { run: "run", silentMs: 1 }))),
  ).rejects.toMatchObject({ code: "trainer_silent" });
  const failed = { kind: "failed", code: "trainer_silent", message: "", fix: "" } as const;
  await runs.finish("run", "failed", failed, 1);
  await runs.finish("run", "failed", failed, 2);
  expect(await meter.points("nightshift.run.step.duration")).toEqual([
    { attributes: { "nightshift.run.step": "train" }, value: 1 },
    { attributes: { "nightshift.run.step": "gate", "error.type": "trainer_silent" }, value: 1 },
  ]);
  expect(await meter.points("nightshift.runs")).toEqual([
    { attributes: { "nightshift.agent": "shop", "nightshift.outcome": "failed", "error.type": "trainer_silent" }, value: 1 },
  ]);

  const second = Promise.withResolvers<void>();
  let turns = 0;
  const loop = startLoop({ name: "night", everyMs: 1, log }, () => {
    turns += 1;
    if (turns === 1) return Promise.reject(new TypeError("a defect"));
    second.resolve();
    return Promise.resolve();
  });
  await second.promise;
  await loop.stop();
  const nights = (await meter.points("nightshift.loop.turn.duration")).filter(
    ({ attributes }) => attributes["nightshift.loop"] === "night",
  );
  expect(nights[0]).toEqual({ attributes: { "nightshift.loop": "night", "error.type": "TypeError" }, value: 1 });
  expect(nights[1]).toMatchObject({ attributes: { "nightshift.loop": "night" } });
});

test("judge and replay: calls by how they ended, what was paid for, and groups by what came of them, and answers beyond the tapes", async () => {
  await parts.measureJudge({ database, directory });
  expect(await parts.measureOffTape((name) => meter.points(name))).toEqual(["shop simulator answered", "shop user unavailable"]);
  const model = { "gen_ai.request.model": "judge" };
  expect(await meter.points("nightshift.judge.call.duration")).toEqual([
    { attributes: { ...model, "nightshift.outcome": "answered" }, value: 1 },
    { attributes: { ...model, "nightshift.outcome": "cached" }, value: 1 },
  ]);
  expect(await meter.points("nightshift.judge.tokens")).toEqual([
    { attributes: { ...model, "gen_ai.token.type": "input" }, value: 200 },
    { attributes: { ...model, "gen_ai.token.type": "output" }, value: 20 },
  ]);
  // 200 × 2 + 20 × 10 millionths.
  expect(await meter.points("nightshift.judge.cost")).toEqual([{ attributes: model, value: expect.closeTo(0.0006, 12) }]);
  expect(await meter.points("nightshift.judge.unusable_replies")).toEqual([{ attributes: model, value: 1 }]);
  const agent = { "nightshift.agent": "shop" };
  expect(await meter.points("nightshift.judged.groups")).toEqual([
    { attributes: { ...agent, "nightshift.reason": "kept" }, value: 2 },
    { attributes: { ...agent, "nightshift.reason": "judge_budget_spent" }, value: 1 },
  ]);
});

test("replay: calls by rung, wrong answers of other tapes, alarms", () => checkReplay(database, meter));

test("trainer: the age of its heartbeat while it is awaited, and its restarts", async () => {
  const runDirectory = join(directory, "run");
  const clock = { monotonicMs: 0 };
  let ages: unknown = null;
  const trainer = parts.slowTrainer(runDirectory, clock, async () => void (ages = await meter.points("nightshift.trainer.heartbeat.age")));
  const options = { runId: "run", agent: "shop", runDirectory, iteration: 1, heartbeatTimeoutMs: 60_000 };
  const deps = { monotonicMs: () => clock.monotonicMs, jobRunner: trainer, log: silentLog() };
  await awaitAdapter({ ...options, signal: new AbortController().signal }, deps);
  const agent = { "nightshift.agent": "shop" };
  expect(ages).toEqual([{ attributes: agent, value: 4 }]);
  expect(await meter.points("nightshift.trainer.heartbeat.age")).toEqual([{ attributes: agent, value: 0 }]);
  const failed = { ...agent, "nightshift.reason": "failed" };
  expect(await meter.points("nightshift.trainer.restarts")).toEqual([{ attributes: failed, value: 1 }]);
  expect(await parts.measureAlarm(database, artifacts, () => meter.points("nightshift.alarms"))).toEqual(["phrase"]);
});

test("trainer: how long it waits for a place, and how long it holds one for nothing", () => checkPlaces(directory, meter));

test("canary: evidence and units while it runs, zero afterwards, every transition", async () => {
  const world = await canaryWorld(database, { agent: "canary", seed: 1 });
  const controller = world.controller();
  await world.submit("canary-a");
  await controller.reconcile("canary");
  await world.traffic(10);
  const result = await controller.reconcile("canary");
  expect(result).toMatchObject({ status: "live", fold: { canary: { units: 10 } } });
  expect((await meter.points("nightshift.canary.units")).reduce((sum, { value }) => sum + value, 0)).toBe(10);
  const [promote, harm] = await meter.points("nightshift.canary.log_evidence");
  const numbers = result.status === "live" ? result.fold.lastDecision?.numbers : undefined;
  expect(Math.exp(promote?.value ?? 0)).toBeCloseTo(numbers?.kPromote ?? 0);
  expect(Math.exp(harm?.value ?? 0)).toBeCloseTo(numbers?.kHarm ?? 0);
  const thresholds = (await meter.points("nightshift.canary.log_threshold")).map(({ value }) => Math.exp(value));
  const guardrails = new Array<number>(7).fill(numbers?.guardrailThreshold ?? 0);
  const expected = [numbers?.threshold, numbers?.threshold, ...guardrails, 1e4];
  expect(thresholds).toEqual(expected.map((value) => expect.closeTo(value ?? 0, 6)));
  await world.run(controller);
  expect((await meter.points("nightshift.canary.units")).map(({ value }) => value)).toEqual([0, 0]);
  expect((await meter.points("nightshift.canary.log_threshold")).map(({ value }) => value)).toEqual(new Array(10).fill(0));
  expect((await meter.points("nightshift.promotion.transitions")).map(({ attributes }) => attributes["nightshift.state"])).toEqual(
    expect.arrayContaining(["queued", "attesting", "canary", "promoted"]),
  );
});

test("state: what the database has of nights and promotions, and how much room there is", async () => {
  await checkState(database, meter);
  await checkDisk(directory, meter);
});

test("the table and what was emitted are the same, both ways", async () => {
  const emitted = new Map((await meter.everything()).map((data) => [data.descriptor.name, data]));
  const table: readonly MetricDefinition[] = Object.values(METRIC);
  expect([...emitted.keys()].toSorted()).toEqual(table.map(({ name }) => name).toSorted());
  expect([...meter.scopes()]).toEqual([SCOPE.own]);
  const used = new Set<string>();
  for (const data of await meter.everything()) {
    const definition = table.find(({ name }) => name === data.descriptor.name);
    expect(data.descriptor).toMatchObject({ unit: definition?.unit, description: definition?.description });
    expect(data.dataPointType).toBe(DATA_POINT[definition?.kind ?? "gauge"]);
    if (data.dataPointType === DataPointType.HISTOGRAM) expect(data.dataPoints[0]?.value.buckets.boundaries).toEqual(definition?.bounds);
    for (const { attributes } of pointsOf([data])) {
      for (const name of Object.keys(attributes)) expect(definition?.attributes).toContain(name);
      for (const name of definition?.attributes ?? []) used.add(name);
    }
  }
  expect([...used].toSorted()).toEqual(Object.keys(METRIC_ATTRIBUTE).toSorted());
});

import { mkdtempSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { metrics } from "@opentelemetry/api";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startCapture } from "../../src/app/capture.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import { SCOPE, SPAN } from "../../src/telemetry.ts";
import { startTelemetry, type TelemetryOptions } from "../../src/telemetry/export.ts";
import { createCounter } from "../../src/telemetry/instruments.ts";
import { METRIC } from "../../src/telemetry/metrics.ts";
import { decodeSpans } from "../../src/trace/decode.ts";
import { createRunStore } from "../../src/training/run-store.ts";
import { createInlineTransport } from "../../src/transport/inline.ts";
import { protobuf, spanJson, traceRequest } from "../fixtures/otlp/build.ts";
import { echo, startUpstream } from "../serving/fake-upstream.ts";
import { experiment, startGateway } from "../serving/gateway-fixture.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { keptLog, startEndpoint } from "./endpoint.ts";

let database: Database;
beforeAll(async () => {
  database = await memoryDatabase();
});
afterAll(() => database.close());

async function open(options: Partial<TelemetryOptions> = {}) {
  const endpoint = await startEndpoint();
  onTestFinished(() => endpoint.close());
  const kept = keptLog();
  const telemetry = await startTelemetry({ process: "up", otlpEndpoint: endpoint.url, ...options }, { log: kept.log, env: process.env });
  return { endpoint, telemetry, ...kept };
}

/** One durable step of a new run, and the run's end. */
async function work(runId: string): Promise<void> {
  const runs = createRunStore(database, () => 5_000);
  await runs.create({ id: runId, tenant: "default", agent: runId, plan: {}, nowMs: 0 });
  await runs.step(runId, "train-1", () => Promise.resolve({}));
  await runs.finish(runId, "finished", { kind: "nothing_to_learn", reason: "test" }, 1);
}

test("without an endpoint nothing is registered", async () => {
  const before = metrics.getMeterProvider();
  const telemetry = await startTelemetry({ process: "up", otlpEndpoint: undefined }, { log: silentLog(), env: process.env });
  expect(metrics.getMeterProvider()).toBe(before);
  await telemetry.shutdown();
});

test("an endpoint gets spans and metrics: a run's steps as one trace, the bearer token, and who sends it", async () => {
  const { endpoint, telemetry, lines } = await open({ token: "secret-token" });
  await work("018f2b3c-0000-7000-8000-000000000001");
  await telemetry.shutdown();
  const [spans] = endpoint.at("/v1/traces");
  expect(decodeSpans(spans?.body ?? new Uint8Array()).map(({ value }) => value)).toMatchObject([
    {
      name: SPAN.runStep,
      attributes: { "nightshift.run.id": "018f2b3c-0000-7000-8000-000000000001", "nightshift.run.step.name": "train-1" },
      traceId: "018f2b3c000070008000000000000001",
      scope: { name: SCOPE.own },
      resource: { "service.namespace": "nightshift", "service.name": "nightshift-up" },
    },
  ]);
  const [sent] = endpoint.at("/v1/metrics");
  for (const name of ["nightshift.run.step.duration", "nightshift.runs", SCOPE.own])
    expect(Buffer.from(sent?.body ?? []).includes(name)).toBe(true);
  expect(endpoint.received.map(({ headers }) => headers["authorization"])).toEqual(endpoint.received.map(() => "Bearer secret-token"));
  expect(lines.map(({ msg }) => msg)).toEqual(["own telemetry is exported"]);
});

test("the agent's OTEL_ variables neither switch it off nor travel along, and nothing tells of this machine", async () => {
  const traps = {
    OTEL_SDK_DISABLED: "true",
    OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer agents-own,x-agent=trap-1",
    OTEL_RESOURCE_ATTRIBUTES: "customer=trap-2,service.name=trap-3",
    OTEL_TRACES_SAMPLER: "always_off",
    OTEL_METRICS_EXPORTER: "none",
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: "delta",
    OTEL_LOG_LEVEL: "debug",
  };
  Object.assign(process.env, traps);
  onTestFinished(() => {
    for (const name of Object.keys(traps)) delete process.env[name];
  });
  const { endpoint, telemetry } = await open();
  expect(process.env).toMatchObject(traps);
  await work("run-with-traps");
  await telemetry.shutdown();
  expect(endpoint.at("/v1/traces")).toHaveLength(1);
  expect(endpoint.at("/v1/metrics")).toHaveLength(1);
  for (const { headers, body } of endpoint.received) {
    const text = JSON.stringify(headers) + Buffer.from(body).toString("latin1");
    for (const leak of ["trap-", "agents-own", hostname(), process.cwd(), process.execPath, String(process.pid)])
      expect(text).not.toContain(leak);
  }
});

test("the gateway's capture and the gateway's own telemetry do not mix", async () => {
  const { endpoint, telemetry } = await open();
  const upstream = await startUpstream(echo);
  await using gateway = await startGateway({ upstreams: [upstream], routes: experiment(0) });
  await gateway.chat("key", { messages: [{ role: "user", content: "a captured question" }] });
  const captured = await gateway.spans();
  await upstream.close();
  await telemetry.shutdown();
  expect(captured.map(({ scope, resource }) => [scope.name, resource["service.name"]])).toEqual([[SCOPE.gateway, "shop-agent"]]);
  expect(endpoint.at("/v1/traces")).toEqual([]);
  const sent = Buffer.concat(endpoint.at("/v1/metrics").map(({ body }) => body));
  expect(sent.includes("nightshift.gateway.requests")).toBe(true);
  expect(sent.includes("a captured question")).toBe(false);
});

test("sent to Nightshift's own collector, its own spans are dropped and the gateway's live ones stored", async () => {
  const directory = mkdtempSync(join(tmpdir(), "nightshift-loop-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const log = silentLog();
  const transport = createInlineTransport({ log });
  const scopes: string[] = [];
  const watched: typeof transport = {
    ...transport,
    publish(record, options) {
      scopes.push(...decodeSpans(record.body).map(({ value }) => value.scope.name));
      return transport.publish(record, options);
    },
  };
  const config = { ...parseConfig({ collector: { port: 0 } }), dataDir: directory };
  const artifacts = createFileArtifactStore({ dir: directory });
  const capture = await startCapture(config, { database, transport: watched, artifacts, log, now: Date.now });
  const { telemetry, lines } = await open({ otlpEndpoint: `http://127.0.0.1:${capture.port}` });
  await work("run-in-a-loop");
  await telemetry.shutdown();
  expect(scopes).toEqual([SCOPE.own]);
  expect(await database.kysely.selectFrom("spans").select("span_id").execute()).toEqual([]);
  expect(await database.kysely.selectFrom("conversations").select("id").execute()).toEqual([]);
  expect(lines.map(({ msg }) => msg)).toEqual(["own telemetry is exported"]);

  const live = protobuf(traceRequest([spanJson()], { scope: SCOPE.gateway }));
  await fetch(`http://127.0.0.1:${capture.port}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf" },
    body: live as unknown as string,
  });
  await capture.close();
  expect(await database.kysely.selectFrom("spans").select("span_id").execute()).toHaveLength(1);
});

describe("an endpoint that does not take it costs one warning and no time", () => {
  test("that answers errors, until it takes it again", async () => {
    const { endpoint, telemetry, lines } = await open({ exportEveryMs: 20 });
    endpoint.state.status = 400;
    createCounter(METRIC.ingestStored).add(1, { "nightshift.signal": "traces" });
    await endpoint.more(5);
    endpoint.state.status = 200;
    await endpoint.more(3);
    await telemetry.shutdown();
    // On a busy machine an export takes longer than these few milliseconds, and the SDK says so.
    expect(lines.map(({ msg }) => msg).filter((msg) => msg !== "telemetry sdk")).toEqual([
      "own telemetry is exported",
      "own telemetry not exported",
      "own telemetry is exported again",
    ]);
  });

  // Stopping without a bound would run into the test's own time limit.
  test.each(["refuses", "hangs"])("that %s, also at shutdown", { timeout: 10_000 }, async (fault) => {
    const { endpoint, telemetry, lines } = await open({ timeoutMs: 300 });
    endpoint.state.status = null;
    if (fault === "refuses") await endpoint.close();
    await work(`run-${fault}`);
    await telemetry.shutdown();
    expect(lines.map(({ msg }) => msg)).toEqual(["own telemetry is exported", "own telemetry not exported"]);
  });
});

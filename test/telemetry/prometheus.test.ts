import { connect } from "node:net";
import { once } from "node:events";
import { metrics, trace } from "@opentelemetry/api";
import { expect, onTestFinished, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { startTelemetry, type Telemetry, type TelemetryOptions } from "../../src/telemetry/export.ts";
import { createCounter, createGauge, createHistogram, observeGauge } from "../../src/telemetry/instruments.ts";
import { METRIC } from "../../src/telemetry/metrics.ts";
import { keptLog, startEndpoint } from "./endpoint.ts";
import { parseExposition } from "./exposition.ts";

const LOOPBACK = { host: "127.0.0.1", port: 0 };

async function open(options: Partial<TelemetryOptions> = {}): Promise<{ telemetry: Telemetry; url: string; port: number; lines: object[] }> {
  const { log, lines } = keptLog();
  const telemetry = await startTelemetry(
    { process: "gateway", otlpEndpoint: undefined, prometheus: LOOPBACK, ...options },
    { log, env: process.env },
  );
  onTestFinished(() => telemetry.shutdown());
  const port = (lines.find(({ msg }) => msg === "metrics are served") as unknown as { port: number }).port;
  return { telemetry, url: `http://127.0.0.1:${port}`, port, lines };
}

const scrape = async (url: string): Promise<string> => (await fetch(`${url}/metrics`)).text();

test("what was counted, byte by byte: names with their units, labels, escapes, and who it is", async () => {
  const { url } = await open();
  createCounter(METRIC.gatewayFallbacks).add(3, { "nightshift.agent": 'a "b"\\\n', "nightshift.reason": "stable_timeout" });
  createGauge(METRIC.replayWrongShare).record(0.25, { "nightshift.agent": "shop", "nightshift.rung": "R3" });
  observeGauge(METRIC.collectorInFlight, (result) => result.observe(1_024, {}));
  const delay = createHistogram(METRIC.judgeCallDuration);
  // Of the bounds 0.01, 0.1, 0.5, 1, 5, … two lie in (0.1, 0.5], one above all.
  for (const seconds of [0.25, 0.5, 20_000]) delay.record(seconds, { "gen_ai.request.model": "judge", "nightshift.outcome": "answered" });

  const response = await fetch(`${url}/metrics`);
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  const text = await response.text();
  expect(text.replace(/service_instance_id="[0-9a-f-]{36}"/, 'service_instance_id="UUID"')).toBe(`# HELP target_info Target metadata
# TYPE target_info gauge
target_info{service_namespace="nightshift",service_name="nightshift-gateway",service_instance_id="UUID"} 1
# HELP nightshift_gateway_fallbacks_total ${METRIC.gatewayFallbacks.description}
# TYPE nightshift_gateway_fallbacks_total counter
nightshift_gateway_fallbacks_total{nightshift_agent="a \\"b\\"\\\\\\n",nightshift_reason="stable_timeout"} 3
# HELP nightshift_replay_wrong_share_ratio ${METRIC.replayWrongShare.description}
# TYPE nightshift_replay_wrong_share_ratio gauge
nightshift_replay_wrong_share_ratio{nightshift_agent="shop",nightshift_rung="R3"} 0.25
# HELP nightshift_collector_in_flight_bytes ${METRIC.collectorInFlight.description}
# TYPE nightshift_collector_in_flight_bytes gauge
nightshift_collector_in_flight_bytes 1024
# HELP nightshift_judge_call_duration_seconds ${METRIC.judgeCallDuration.description}
# TYPE nightshift_judge_call_duration_seconds histogram
${[
  ["count", "", 3],
  ["sum", "", 20_000.75],
  ...[0.01, 0.1].map((le) => ["bucket", le, 0]),
  ...[0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400].map((le) => ["bucket", le, 2]),
  ["bucket", "+Inf", 3],
]
  .map(
    ([suffix, le, value]) =>
      `nightshift_judge_call_duration_seconds_${suffix}{gen_ai_request_model="judge",nightshift_outcome="answered"${le === "" ? "" : `,le="${le}"`}} ${value}`,
  )
  .join("\n")}
`);
  const labels = parseExposition(text).find(({ name }) => name === "nightshift_gateway_fallbacks_total")?.samples[0]?.labels;
  expect(labels).toEqual({ nightshift_agent: 'a "b"\\\n', nightshift_reason: "stable_timeout" });
});

test("before the first number it says who it is, in whole lines", async () => {
  const { url } = await open();
  expect(parseExposition(await scrape(url)).map(({ name }) => name)).toEqual(["target_info"]);
});

test("beside OTLP: neither takes from what the other reads, and a second scrape reads the same", async () => {
  const endpoint = await startEndpoint();
  onTestFinished(() => endpoint.close());
  const { telemetry, url } = await open({ otlpEndpoint: endpoint.url });
  const counter = createCounter(METRIC.erasures);
  counter.add(2, {});
  const totalOf = async () => parseExposition(await scrape(url)).find(({ name }) => name === "nightshift_erasures_total")?.samples[0]?.value;
  expect([await totalOf(), await totalOf()]).toEqual([2, 2]);
  counter.add(1, {});
  expect(await totalOf()).toBe(3);
  await telemetry.shutdown();
  expect(endpoint.at("/v1/metrics").some(({ body }) => Buffer.from(body).includes("nightshift.erasures"))).toBe(true);
});

test("alone: no spans are made or sent, whatever the agent's environment says", async () => {
  const endpoint = await startEndpoint();
  onTestFinished(() => endpoint.close());
  const traps = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint.url, OTEL_METRICS_EXPORTER: "otlp", OTEL_EXPORTER_PROMETHEUS_PORT: "1" };
  Object.assign(process.env, traps);
  onTestFinished(() => {
    for (const name of Object.keys(traps)) delete process.env[name];
  });
  const { telemetry, url } = await open();
  expect(trace.getTracer("any").startSpan("one").isRecording()).toBe(false);
  createCounter(METRIC.erasures).add(1, {});
  expect(await scrape(url)).toContain("nightshift_erasures_total 1");
  await telemetry.shutdown();
  expect(endpoint.received).toEqual([]);
});

test("a port that is taken says so, and leaves no SDK behind", async () => {
  const { port } = await open();
  const before = metrics.getMeterProvider();
  const again = startTelemetry(
    { process: "ingest", otlpEndpoint: undefined, prometheus: { host: "127.0.0.1", port } },
    { log: silentLog(), env: process.env },
  );
  await expect(again).rejects.toMatchObject({
    code: "port_taken",
    message: `the Prometheus endpoint cannot listen on 127.0.0.1:${port}: the port is taken`,
  });
  expect(metrics.getMeterProvider()).toBe(before);
});

test.each([
  ["GET", "/", 404],
  ["GET", "/metrics/", 404],
  ["POST", "/metrics", 405],
  ["GET", "/metrics?name%5B%5D=up", 200],
])("%s %s is answered with %i", async (method, path, status) => {
  const { url } = await open();
  expect((await fetch(url + path, { method })).status).toBe(status);
});

test("what no client of ours would send ends nothing", async () => {
  const { port, url } = await open();
  const socket = connect(port, "127.0.0.1");
  socket.write("GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString()).toMatch(/^HTTP\/1\.1 404 /);
  expect(await scrape(url)).toContain("target_info");
});

test("is closed at the end, with whoever is still connected", async () => {
  const { telemetry, port, url } = await open();
  const idle = connect(port, "127.0.0.1");
  await once(idle, "connect");
  const half = connect(port, "127.0.0.1");
  half.write("GET /metrics HTTP/1.1\r\nHost: ");
  await once(half, "connect");
  const gone = Promise.all([idle, half].map((socket) => once(socket, "close")));
  for (const socket of [idle, half]) socket.on("error", () => undefined);
  await telemetry.shutdown();
  await gone;
  await expect(fetch(`${url}/metrics`)).rejects.toThrow("fetch failed");
});

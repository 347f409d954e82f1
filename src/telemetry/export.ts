import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { context, diag, DiagLogLevel, logs, metrics, trace, type DiagLogger } from "@opentelemetry/api";
import { ExportResultCode } from "@opentelemetry/core";
import type { MetricReader, PushMetricExporter } from "@opentelemetry/sdk-metrics";
import type { SpanExporter } from "@opentelemetry/sdk-trace";
import type { Logger } from "../log.ts";
import { observeDisk } from "./disk.ts";
import { hidingOtelVariables } from "./otel-variables.ts";
import type { PrometheusEndpoint } from "./prometheus.ts";

/** Nightshift's own telemetry, on its way out. */
export interface Telemetry {
  /** Exports what is waiting and stops, in bounded time whatever the endpoint does. Never rejects. */
  shutdown(): Promise<void>;
}

export interface TelemetryOptions {
  /** Which process this is: `up`, `serve`, `gateway`, … */
  process: string;
  /** Base URL of an OTLP/HTTP endpoint; unset: nothing is sent. Without it and `prometheus` nothing is loaded or measured. */
  otlpEndpoint: string | undefined;
  /** Bearer token for it. */
  token?: string | undefined;
  /** Where `GET /metrics` listens; unset: nowhere. */
  prometheus?: { host: string; port: number } | undefined;
  /** The directory whose file system is measured; unset: none. */
  dataDir?: string | undefined;
  /** Pause between two exports of the metrics. */
  exportEveryMs?: number;
  /** Longest time for one export with its retries; stopping takes twice that at most. */
  timeoutMs?: number;
}

const EXPORT_EVERY_MS = 15_000;
const TIMEOUT_MS = 3_000;
const MAX_DIAGNOSTIC_CHARS = 500;

/**
 * Starts exporting this process's own spans and metrics, or serving its metrics, or both. Call it before anything else is created: instruments that exist already stay silent. An endpoint
 * that does not answer costs one warning and the telemetry, nothing else.
 * @param deps `env` is the environment that the SDK reads, `process.env`: its `OTEL_` variables are hidden from the SDK while it starts
 * @throws NightshiftError `port_taken` where the Prometheus endpoint cannot listen
 */
export async function startTelemetry(
  options: TelemetryOptions,
  deps: { log: Logger; env: Record<string, string | undefined> },
): Promise<Telemetry> {
  const { otlpEndpoint, prometheus } = options;
  if (otlpEndpoint === undefined && prometheus === undefined) return { shutdown: () => Promise.resolve() };
  const { log } = deps;
  // Loaded here and not above: it takes half a second, which no other command should wait for.
  const sdk = await loadSdk();
  const scraped = prometheus === undefined ? null : await servePrometheus(prometheus, log);
  const started = hidingOtelVariables(deps.env, () => createSdk(sdk, options, { scraped, log }));
  if (otlpEndpoint !== undefined) log.info({ endpoint: new URL(otlpEndpoint).origin }, "own telemetry is exported");
  if (options.dataDir !== undefined) observeDisk(options.dataDir);
  return {
    async shutdown() {
      await scraped?.close();
      const stopped = started.shutdown().catch((cause: unknown) => log.warn({ err: cause }, "own telemetry did not stop cleanly"));
      const isOver = new AbortController();
      const deadline = sleep(2 * (options.timeoutMs ?? TIMEOUT_MS), undefined, { signal: isOver.signal }).catch(() => undefined);
      await Promise.race([stopped, deadline]);
      isOver.abort();
      for (const api of [metrics, trace, logs, context, diag]) api.disable();
    },
  };
}

async function servePrometheus(listener: { host: string; port: number }, log: Logger): Promise<PrometheusEndpoint> {
  const { openPrometheus } = await import("./prometheus.ts");
  const endpoint = await openPrometheus(listener, { log });
  log.info({ host: listener.host, port: endpoint.port }, "metrics are served");
  return endpoint;
}

async function loadSdk() {
  const [node, traces, meters, metricExporter, spanExporter, resources] = await Promise.all([
    import("@opentelemetry/sdk-node"),
    import("@opentelemetry/sdk-trace"),
    import("@opentelemetry/sdk-metrics"),
    import("@opentelemetry/exporter-metrics-otlp-proto"),
    import("@opentelemetry/exporter-trace-otlp-proto"),
    import("@opentelemetry/resources"),
  ]);
  return { ...node, ...traces, ...meters, ...metricExporter, ...spanExporter, ...resources };
}

type Sdk = Awaited<ReturnType<typeof loadSdk>>;

function createSdk(sdk: Sdk, options: TelemetryOptions, { scraped, log }: { scraped: PrometheusEndpoint | null; log: Logger }) {
  const sent = options.otlpEndpoint === undefined ? null : sendingTo(options.otlpEndpoint, sdk, options, log);
  const metricReaders: MetricReader[] = [];
  if (sent !== null) metricReaders.push(sent.metricReader);
  if (scraped !== null) metricReaders.push(scraped.reader);
  const node = new sdk.NodeSDK({
    // No detectors: they send the command line, the host's name and the paths of this machine along, and the agent's OTEL_RESOURCE_ATTRIBUTES.
    autoDetectResources: false,
    resource: sdk.resourceFromAttributes({
      "service.namespace": "nightshift",
      "service.name": `nightshift-${options.process}`,
      // Two gateways must not write the same time series.
      "service.instance.id": randomUUID(),
    }),
    sampler: new sdk.AlwaysOnSampler(),
    textMapPropagator: null,
    logRecordProcessors: [],
    // An empty list is none; without one the SDK would send to where the OTLP of a machine usually is.
    spanProcessors: sent === null ? [] : [sent.spanProcessor],
    metricReaders,
  });
  diag.setLogger(diagnosticsTo(log), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  node.start();
  return node;
}

function sendingTo(endpoint: string, sdk: Sdk, options: TelemetryOptions, log: Logger) {
  const { exportEveryMs = EXPORT_EVERY_MS, timeoutMs = TIMEOUT_MS } = options;
  const headers = options.token === undefined ? {} : { authorization: `Bearer ${options.token}` };
  const to = (path: string) => ({ url: `${endpoint.replace(/\/+$/, "")}${path}`, headers, timeoutMillis: timeoutMs });
  const report = createOutageReport(log);
  return {
    spanProcessor: new sdk.BatchSpanProcessor({
      exporter: quietSpans(new sdk.OTLPTraceExporter(to("/v1/traces")), report),
      scheduledDelayMillis: 1_000,
    }),
    metricReader: new sdk.PeriodicExportingMetricReader({
      exporter: quietMetrics(new sdk.OTLPMetricExporter(to("/v1/metrics")), report),
      exportIntervalMillis: exportEveryMs,
      exportTimeoutMillis: Math.min(exportEveryMs, 2 * timeoutMs),
    }),
  };
}

/** Says once that the endpoint does not take what it is sent, and once that it does again. */
function createOutageReport(log: Logger): (error: Error | undefined) => void {
  let isOut = false;
  return (error) => {
    if (error !== undefined && !isOut) log.warn({ problem: error.message.slice(0, MAX_DIAGNOSTIC_CHARS) }, "own telemetry not exported");
    if (error === undefined && isOut) log.info({}, "own telemetry is exported again");
    isOut = error !== undefined;
  };
}

type Report = ReturnType<typeof createOutageReport>;
type Done = Parameters<SpanExporter["export"]>[1];

/** To the SDK every export succeeded: it would say of each failed one what the report has said already. */
function quietly(report: Report, done: Done): Done {
  return ({ error }) => {
    report(error);
    done({ code: ExportResultCode.SUCCESS });
  };
}

function quietSpans(exporter: SpanExporter, report: Report): SpanExporter {
  return {
    export: (spans, done) => exporter.export(spans, quietly(report, done)),
    forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
    shutdown: () => exporter.shutdown(),
  };
}

function quietMetrics(exporter: PushMetricExporter, report: Report): PushMetricExporter {
  return {
    export: (resourceMetrics, done) => exporter.export(resourceMetrics, quietly(report, done)),
    forceFlush: () => exporter.forceFlush(),
    shutdown: () => exporter.shutdown(),
  };
}

/** What the SDK says of itself. Warnings only, so that a broken set-up is seen and nothing else is. */
function diagnosticsTo(log: Logger): DiagLogger {
  const warn = (text: string) => log.warn({ problem: text.slice(0, MAX_DIAGNOSTIC_CHARS) }, "telemetry sdk");
  const drop = () => undefined;
  return { error: warn, warn, info: drop, debug: drop, verbose: drop };
}

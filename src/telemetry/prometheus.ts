import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { PrometheusExporter } from "@opentelemetry/exporter-prometheus";
import { DataPointType, type MetricData, type ResourceMetrics } from "@opentelemetry/sdk-metrics";
import { nightshiftError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { MetricDefinition } from "./metrics.ts";
import { prometheusBase } from "./prometheus-names.ts";

/** `GET /metrics` of a process, in Prometheus' text format. */
export interface PrometheusEndpoint {
  /** A reader of the SDK beside the exporting one: it adds up for itself, so neither takes from what the other reads. */
  readonly reader: PrometheusExporter;
  readonly port: number;
  /** Ends the listener with whatever scrape is under way. */
  close(): Promise<void>;
}

const PATH = "/metrics";
const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/**
 * Listens; answers 503 until `reader` belongs to a started SDK. The listener is ours, the exporter's own is not started: that one takes port 0 for its default, tells a log only that a port is
 * taken, answers a failed reading with 200, and appends no units.
 * Keeps no process alive that has nothing else to do.
 * @throws NightshiftError `port_taken`
 */
export async function openPrometheus(
  { host, port }: { host: string; port: number },
  { log }: { log: Logger },
): Promise<PrometheusEndpoint> {
  const { PrometheusExporter: Exporter, PrometheusSerializer } = await import("@opentelemetry/exporter-prometheus");
  const reader = new Exporter({ preventServerStart: true });
  // One scope has all our metrics: it would be a label on every series.
  const serializer = new PrometheusSerializer(undefined, false, undefined, false, true);
  const answer = async (response: ServerResponse): Promise<void> => {
    try {
      const { resourceMetrics, errors } = await reader.collect();
      if (errors.length > 0) log.warn({ problem: String(errors[0]) }, "a metric could not be read");
      const text = serializer.serialize(named(resourceMetrics));
      // Before the first number it ends in a remark without an end, which a scraper need not take.
      response.writeHead(200, { "content-type": CONTENT_TYPE }).end(text.endsWith("\n") ? text : `${text}\n`);
    } catch (error) {
      log.warn({ err: error }, "metrics not served");
      response.writeHead(503).end();
    }
  };
  const server = createServer((request, response) => {
    // Not by URL: it throws at what a stranger may send.
    if (request.url?.split("?", 1)[0] !== PATH) response.writeHead(404).end();
    else if (request.method !== "GET") response.writeHead(405, { allow: "GET" }).end();
    else void answer(response);
  }).unref();
  await listen(server, { host, port });
  return {
    reader,
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) =>
      reject(cause.code === "EADDRINUSE" ? nightshiftError("port_taken", { what: "the Prometheus endpoint", host, port }, { cause }) : cause),
    );
    server.listen(port, host, () => resolve());
  });
}

/** The exporter appends `_total` and no units; the unit is in the name then and needs no comment. */
function named(metrics: ResourceMetrics): ResourceMetrics {
  const scopeMetrics = metrics.scopeMetrics.map((scope) => ({ ...scope, metrics: scope.metrics.map(rename) }));
  return { ...metrics, scopeMetrics };
}

function rename(data: MetricData): MetricData {
  const { name, unit } = data.descriptor as Pick<MetricDefinition, "name" | "unit">;
  const base = prometheusBase({ name, unit }, data.dataPointType === DataPointType.GAUGE);
  return { ...data, descriptor: { ...data.descriptor, name: base, unit: "" } };
}

import { metrics } from "@opentelemetry/api";
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
  type MetricData,
} from "@opentelemetry/sdk-metrics";
import type { MetricDefinition } from "../../src/telemetry/metrics.ts";

/** What the SDK makes of each kind. */
export const DATA_POINT: Record<MetricDefinition["kind"], DataPointType> = {
  counter: DataPointType.SUM,
  histogram: DataPointType.HISTOGRAM,
  gauge: DataPointType.GAUGE,
  "observable gauge": DataPointType.GAUGE,
};

/** One data point: its attributes, and its value (of a histogram: how many were recorded). */
export interface Point {
  attributes: Record<string, unknown>;
  value: number;
}

/**
 * A real meter provider that keeps what it exports. Registers itself for the whole process, as the SDK does: call it before the measured components are
 * created, once in a test file.
 */
export function meterInMemory() {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const provider = new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })] });
  metrics.setGlobalMeterProvider(provider);
  const collect = async (): Promise<MetricData[]> => {
    await provider.forceFlush();
    return exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics));
  };
  return {
    /** Everything that was exported so far, of every export. */
    everything: collect,
    /** Points of one metric as they are now. */
    async points(name: string): Promise<Point[]> {
      await provider.forceFlush();
      const newest =
        exporter
          .getMetrics()
          .at(-1)
          ?.scopeMetrics.flatMap((scope) => scope.metrics) ?? [];
      return pointsOf(newest.filter(({ descriptor }) => descriptor.name === name));
    },
    scopes: () => new Set(exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.map(({ scope }) => scope.name))),
    close: () => provider.shutdown(),
  };
}

export function pointsOf(data: readonly MetricData[]): Point[] {
  return data.flatMap(({ dataPoints }) =>
    dataPoints.map(({ attributes, value }) => ({ attributes, value: typeof value === "number" ? value : value.count })),
  );
}

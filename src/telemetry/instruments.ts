import { metrics, type Counter, type Gauge, type Histogram, type ObservableResult } from "@opentelemetry/api";
import { SCOPE } from "../telemetry.ts";
import type { MetricAttribute, MetricDefinition } from "./metrics.ts";

type Value = string | number;
/** What a success does not have. */
type Optional = "error.type" | "http.response.status_code" | "rpc.response.status_code";
type AttributesOf<D extends MetricDefinition> = { [K in Exclude<D["attributes"][number], Optional>]: Value } & {
  [K in Extract<D["attributes"][number], Optional>]?: Value;
};
type Of<K extends MetricDefinition["kind"]> = MetricDefinition & { kind: K };

/**
 * Instruments of the table. Create them once, with the component that uses them and after `startTelemetry`: without a started SDK they do nothing.
 */
export function createCounter<D extends Of<"counter">>(definition: D): Counter<AttributesOf<D>> {
  return meter().createCounter(definition.name, optionsOf(definition));
}

export function createHistogram<D extends Of<"histogram">>(definition: D): Histogram<AttributesOf<D>> {
  return meter().createHistogram(definition.name, optionsOf(definition));
}

export function createGauge<D extends Of<"gauge">>(definition: D): Gauge<AttributesOf<D>> {
  return meter().createGauge(definition.name, optionsOf(definition));
}

/** Has `read` called at every export, which costs nothing between two. For as long as the process lives: the SDK repeats a gauge's last points for ever. */
export function observeGauge<D extends Of<"observable gauge">>(
  definition: D,
  read: (result: ObservableResult<AttributesOf<D>>) => void,
): void {
  meter().createObservableGauge<AttributesOf<D>>(definition.name, optionsOf(definition)).addCallback(read);
}

/** `error.type` of what was thrown: a NightshiftError's code, or the class of anything else. Never its text. */
export function errorTypeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  return "code" in error && typeof error.code === "string" ? error.code : error.name;
}

/** Seconds since `startMs` of `performance.now()`. */
export function secondsSince(startMs: number): number {
  return (performance.now() - startMs) / 1_000;
}

function meter() {
  return metrics.getMeter(SCOPE.own);
}

function optionsOf({ unit, description, bounds }: MetricDefinition & { attributes: readonly MetricAttribute[] }) {
  return { unit, description, ...(bounds === undefined ? {} : { advice: { explicitBucketBoundaries: [...bounds] } }) };
}

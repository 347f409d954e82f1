import type { MetricDefinition } from "./metrics.ts";

/** What Prometheus' own OTLP receiver and the OpenTelemetry Collector append for a unit. What stands in braces counts something and appends nothing. */
function unitSuffix(unit: MetricDefinition["unit"], isGauge: boolean): string {
  switch (unit) {
    case "s":
      return "_seconds";
    case "By":
      return "_bytes";
    case "1":
      // A ratio is a state: what is added up has no suffix for having no unit.
      return isGauge ? "_ratio" : "";
    default:
      return "";
  }
}

/** A metric's name without `_total`, `_bucket`, `_sum` or `_count`: dots become underscores, the unit comes after them. */
export function prometheusBase({ name, unit }: Pick<MetricDefinition, "name" | "unit">, isGauge: boolean): string {
  return `${name.replaceAll(".", "_")}${unitSuffix(unit, isGauge)}`;
}

/**
 * The names of a metric's series in Prometheus, the same whether it scrapes a process or is sent OTLP with its default translation, so that a dashboard does not hang on the way that
 * the numbers took.
 */
export function prometheusNames(definition: Pick<MetricDefinition, "name" | "unit" | "kind">): string[] {
  const { kind } = definition;
  const base = prometheusBase(definition, kind === "gauge" || kind === "observable gauge");
  if (kind === "counter") return [`${base}_total`];
  return kind === "histogram" ? [`${base}_bucket`, `${base}_sum`, `${base}_count`] : [base];
}

/** An attribute's name as a label. */
export function prometheusLabel(attribute: string): string {
  return attribute.replaceAll(".", "_");
}

import { z } from "zod";
import { configSchema } from "../../src/config.ts";
import { errorTable } from "../../src/errors.ts";
import { METRIC, METRIC_ATTRIBUTE, type MetricDefinition } from "../../src/telemetry/metrics.ts";
import { prometheusNames } from "../../src/telemetry/prometheus-names.ts";
import { batchSchemaFiles } from "../../src/training/batch-schema.ts";
import { chartFiles } from "./chart-files.ts";
import { dialectsPage } from "../../test/fixtures/otlp/dialects-page.ts";

/** A file that is made from the code: path below the repository root, and its whole text. */
export interface GeneratedFile {
  path: string;
  text: string;
}

/** The reference pages, what the chart ships of other folders, and the JSON Schemas that the trainer's tests check the hand-over with. A test fails when a committed one is stale; `npm run generate` writes them. */
export function generatedFiles(): GeneratedFile[] {
  return [
    { path: "docs/config.md", text: configPage() },
    { path: "docs/dialects.md", text: dialectsPage() },
    { path: "docs/errors.md", text: errorsPage() },
    { path: "docs/metrics.md", text: metricsPage() },
    ...chartFiles().map(({ path, text }) => ({ path: `helm/${path}`, text })),
    ...batchSchemaFiles(),
  ];
}

function configPage(): string {
  const schema = z.toJSONSchema(configSchema, { io: "input" }) as JsonSchema;
  const rows = leaves(schema, "").map(
    ({ path, node }) => `| \`${path}\` | ${cell(typeOf(node))} | ${cell(defaultOf(node))} | ${cell(node.description ?? "")} |`,
  );
  return [
    "# Configuration",
    "",
    "Made from `src/config.ts` by `npm run generate`. One YAML file (`--config`), every key optional unless its default says required; an environment variable",
    "`NIGHTSHIFT_A__B_C=value` sets `a.bC`. An unknown key is an error. `<name>` stands for a slug of your choice.",
    "",
    "| key | type | default | meaning |",
    "| --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

function errorsPage(): string {
  const rows = errorTable().map(({ code, fix, retryable }) => `| \`${code}\` | ${retryable ? "yes" : "no"} | ${cell(fix)} |`);
  return [
    "# Errors",
    "",
    "Made from `src/errors/` by `npm run generate`. The message of an error names what failed and the value; this is what to do about it.",
    "",
    "| code | retryable | fix |",
    "| --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

function metricsPage(): string {
  const metrics: readonly MetricDefinition[] = Object.values(METRIC);
  const rows = metrics.map((metric) => {
    const { name, kind, unit, description, attributes } = metric;
    const names = attributes.map((attribute) => `\`${attribute}\``).join(", ");
    const series = prometheusNames(metric)[0]?.replace(/_bucket$/, "") ?? "";
    return `| \`${name}\` | ${kind} | \`${unit}\` | ${cell(description)} | ${names} | \`${series}\` |`;
  });
  return [
    "# Metrics",
    "",
    "Made from `src/telemetry/metrics.ts` by `npm run generate`. Nightshift measures itself in the scope `nightshift.internal` and sends it to `telemetry.otlpEndpoint`,",
    "every 15 seconds, as OTLP/HTTP with `service.namespace` `nightshift` and `service.name` `nightshift-up`, `-serve`, `-gateway`, `-collector`, `-ingest`, `-adapter-agent` or `-artifact-sync`; unset, nothing is sent. Its own",
    "spans, one `nightshift.run.step` per durable step of a night, go there too: one run is one trace, whose id is the run's without its dashes.",
    "",
    "With `telemetry.prometheus` every process but `artifact-sync` answers `GET /metrics` for Prometheus to scrape. The names in the last column (a histogram's with `_bucket`, `_sum` and `_count` behind them) are",
    "the same where Prometheus is sent OTLP with its default translation. Attributes become labels with `_` for every dot; `target_info` has the three of the resource.",
    "",
    "| metric | kind | unit | meaning | attributes | in Prometheus |",
    "| --- | --- | --- | --- | --- | --- |",
    ...rows,
    "",
    "| attribute | values |",
    "| --- | --- |",
    ...Object.entries(METRIC_ATTRIBUTE).map(([name, meaning]) => `| \`${name}\` | ${cell(meaning)} |`),
    "",
  ].join("\n");
}

interface JsonSchema {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  format?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: JsonSchema | boolean;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  items?: JsonSchema;
  isRequired?: boolean;
}

/** Depth first: every node without properties of its own is a row; a record contributes `<name>`; a union contributes each variant's leaves. */
function leaves(node: JsonSchema, path: string): { path: string; node: JsonSchema }[] {
  const variants = node.anyOf ?? node.oneOf;
  if (variants !== undefined) {
    const { description, default: fallback } = node;
    const shared = { ...(description === undefined ? {} : { description }), ...(fallback === undefined ? {} : { default: fallback }) };
    return unique(variants.flatMap((variant) => leaves({ ...shared, ...variant }, path)));
  }
  if (node.properties !== undefined) {
    return Object.entries(node.properties).flatMap(([key, child]) =>
      leaves({ ...child, isRequired: node.required?.includes(key) ?? false }, path === "" ? key : `${path}.${key}`),
    );
  }
  if (typeof node.additionalProperties === "object" && node.additionalProperties.properties !== undefined)
    return leaves(node.additionalProperties, `${path}.<name>`);
  return [{ path, node }];
}

function unique(rows: { path: string; node: JsonSchema }[]): { path: string; node: JsonSchema }[] {
  const merged = new Map<string, JsonSchema>();
  for (const { path, node } of rows) {
    const seen = merged.get(path);
    const names = seen === undefined ? [] : (seen.enum ?? [seen.const]);
    const isVariantName = node.const !== undefined && names.every((name) => name !== undefined) && names.length > 0;
    merged.set(path, isVariantName && seen !== undefined ? { ...seen, enum: [...new Set([...names, node.const])] } : (seen ?? node));
  }
  return [...merged].map(([path, node]) => ({ path, node }));
}

function typeOf(node: JsonSchema): string {
  if (node.enum !== undefined) return node.enum.map((value) => `\`${JSON.stringify(value)}\``).join(" or ");
  if (node.const !== undefined) return `\`${JSON.stringify(node.const)}\``;
  if (node.type === "array") return "list";
  return node.format === "uri" ? "url" : (node.type ?? "any");
}

function defaultOf(node: JsonSchema): string {
  if (node.default !== undefined) return `\`${JSON.stringify(node.default)}\``;
  return node.isRequired === true ? "required" : "";
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

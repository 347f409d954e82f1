import { describe, expect, test } from "vitest";
import { runCli } from "../../src/cli/program.ts";
import { errorTable } from "../../src/errors.ts";
import { METRIC, METRIC_ATTRIBUTE, type MetricDefinition } from "../../src/telemetry/metrics.ts";
import { prometheusLabel, prometheusNames } from "../../src/telemetry/prometheus-names.ts";
import { queriesOf, readAlerts, readDashboards, readRunbook } from "./observability-files.ts";

const table: readonly MetricDefinition[] = Object.values(METRIC);
const known = new Map(table.flatMap((metric) => prometheusNames(metric).map((name) => [name, metric] as const)));
/** What Prometheus adds itself. */
const OF_PROMETHEUS = ["namespace", "instance", "le"];
const alerts = readAlerts();
const dashboards = readDashboards();
const runbook = readRunbook();

/** Names of series in a text: whatever begins as ours do and is no label. */
function seriesIn(text: string): string[] {
  const labels = new Set(Object.keys(METRIC_ATTRIBUTE).map(prometheusLabel));
  return [...new Set([...text.matchAll(/\bnightshift_[a-z0-9_]+\b/g)].map(([name]) => name))].filter((name) => !labels.has(name));
}

/** Every label that a query selects or groups by, with the metrics that it stands beside: at least one of them has to have it. */
function labelsIn(expr: string): string[] {
  const inBraces = [...expr.matchAll(/\{([^}]*)\}/g)].flatMap(([, inside = ""]) => [...inside.matchAll(/([a-z_]+)\s*[=!]/g)]);
  const grouped = [...expr.matchAll(/\b(?:by|on|ignoring|without)\s*\(([^)]*)\)/g)].flatMap(([, inside = ""]) => [
    ...inside.matchAll(/([a-z_]+)/g),
  ]);
  return [...new Set([...inBraces, ...grouped].map(([, label = ""]) => label))];
}

function checkQuery(expr: string): void {
  const series = seriesIn(expr);
  expect(series.length).toBeGreaterThan(0);
  for (const name of series) expect([...known.keys()]).toContain(name);
  const possible = new Set(series.flatMap((name) => known.get(name)?.attributes.map(prometheusLabel) ?? []));
  for (const label of labelsIn(expr)) if (!OF_PROMETHEUS.includes(label)) expect([...possible]).toContain(label);
}

test("names in Prometheus are unique, and as its own translation of OTLP makes them", () => {
  expect(known.size).toBe(table.flatMap(prometheusNames).length);
  const name = (unit: MetricDefinition["unit"], kind: MetricDefinition["kind"]) =>
    prometheusNames({ name: "nightshift.some.thing", unit, kind });
  expect(name("s", "histogram")).toEqual([
    "nightshift_some_thing_seconds_bucket",
    "nightshift_some_thing_seconds_sum",
    "nightshift_some_thing_seconds_count",
  ]);
  expect(name("By", "observable gauge")).toEqual(["nightshift_some_thing_bytes"]);
  expect(name("1", "gauge")).toEqual(["nightshift_some_thing_ratio"]);
  expect(name("1", "counter")).toEqual(["nightshift_some_thing_total"]);
  expect(name("{record}", "counter")).toEqual(["nightshift_some_thing_total"]);
});

describe("alerts", () => {
  test.each(alerts)("$alert asks for metrics and labels that there are", ({ expr, annotations }) => {
    checkQuery(expr);
    for (const [, label = ""] of `${annotations.summary} ${annotations.description}`.matchAll(/\$labels\.([a-z_]+)/g))
      expect(expr).toContain(label);
  });

  test("each has an entry in the runbook, which says what it means, how to see it and what to do; and each entry an alert", () => {
    const entries = [...runbook.matchAll(/^## (.+)\n([\s\S]*?)(?=^## |$(?![\s\S]))/gm)].map(([, title = "", body = ""]) => ({ title, body }));
    expect(entries.map(({ title }) => title)).toEqual(alerts.map(({ alert }) => alert));
    for (const { body } of entries) for (const part of ["**Means**", "**See**", "**Do**"]) expect(body).toContain(part);
    for (const { alert, annotations } of alerts) expect(annotations.runbook_url).toBe(`docs/runbook.md#${alert.toLowerCase()}`);
  });
});

describe("the runbook", () => {
  test("names metrics that there are, and links to entries that there are", () => {
    const names = seriesIn(runbook);
    expect(names.length).toBeGreaterThan(10);
    const bases = [...known.keys()].map((name) => name.replace(/_bucket$/, ""));
    for (const name of names) expect([...known.keys(), ...bases]).toContain(name);
    for (const [, anchor] of runbook.matchAll(/\]\(#([a-z]+)\)/g)) expect(alerts.map(({ alert }) => alert.toLowerCase())).toContain(anchor);
  });

  const lines = [...runbook.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block = ""]) => block.trim().split("\n"));
  const inText = [...runbook.matchAll(/`(npx nightshift [^`]+)`/g)].map(([, line = ""]) => line);
  const commands = [...new Set([...lines, ...inText])].filter((line) => line.startsWith("npx nightshift "));

  test.each(commands)("%s is taken by the command line", async (line) => {
    const said: string[] = [];
    const say = (text: string): void => void said.push(text);
    const words = [...line.matchAll(/"[^"]*"|\S+/g)].map(([word]) => word.replaceAll('"', "")).slice(2);
    const context = { env: { NIGHTSHIFT_TOKEN_FILE: "/nowhere/token" }, out: say, err: say, colours: false };
    expect(await runCli(words, { ...context, signal: new AbortController().signal })).toBe(2);
    expect(said.join("\n")).toContain("/nowhere/token cannot be read");
  });

  test("gives errors by the codes that they have", () => {
    const codes = new Set<string>(errorTable().map(({ code }) => code));
    for (const [, code = ""] of runbook.matchAll(/`([a-z]+_[a-z_]+)`:/g)) if (code !== "not_found") expect([...codes]).toContain(code);
  });
});

describe("dashboards", () => {
  test.each(dashboards)("$file: its name is its id, every panel one of its own, no address, nothing outside the grid", ({ file, text, dashboard }) => {
    expect(file).toBe(`${dashboard.uid}.json`);
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(text).not.toMatch(/https?:\/\//);
    expect(dashboard.templating.list[0]).toMatchObject({ name: "datasource", type: "datasource", query: "prometheus" });
    for (const panel of dashboard.panels) {
      if (!("targets" in panel)) continue;
      const { x, w } = panel["gridPos"] as { x: number; w: number };
      expect(x + w).toBeLessThanOrEqual(24);
    }
  });

  const queries = dashboards.flatMap(({ dashboard }) => queriesOf(dashboard).map((query) => ({ title: dashboard.title, ...query })));
  test.each(queries)("$title, $panel: $expr", ({ expr }) => checkQuery(expr));

  test("show every metric of the table", () => {
    const shown = new Set(queries.flatMap(({ expr }) => seriesIn(expr)).map((name) => known.get(name)?.name));
    expect(table.map(({ name }) => name).filter((name) => !shown.has(name))).toEqual([]);
  });

  test("their variables ask for metrics and labels that there are", () => {
    const asked = dashboards.flatMap(({ dashboard }) =>
      dashboard.templating.list.flatMap(({ query }) => (typeof query === "string" ? [] : [query.query])),
    );
    for (const query of asked) {
      const [, series = "", label = ""] = /^label_values\(([a-z_]+), ([a-z_]+)\)$/.exec(query) ?? [];
      expect([...known.keys()]).toContain(series);
      expect([...OF_PROMETHEUS, ...(known.get(series)?.attributes.map(prometheusLabel) ?? [])]).toContain(label);
    }
  });
});

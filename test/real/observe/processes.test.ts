import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { METRIC, type MetricDefinition } from "../../../src/telemetry/metrics.ts";
import { prometheusLabel, prometheusNames } from "../../../src/telemetry/prometheus-names.ts";
import { queriesOf, readAlerts, readDashboards } from "../../deploy/observability-files.ts";
import { until } from "../../e2e/processes.ts";
import { spanJson, traceRequest } from "../../fixtures/otlp/build.ts";
import { parseExposition } from "../../telemetry/exposition.ts";
import { PROCESSES, startStand, type ProcessName, type Stand } from "./stand.ts";

type Labels = Readonly<Record<string, string>>;

const table: readonly MetricDefinition[] = Object.values(METRIC);
const known = new Map(table.flatMap((metric) => prometheusNames(metric).map((name) => [name, metric] as const)));
/** What each must tell whatever happens, by what it is. */
const TELLS: Readonly<Record<ProcessName, readonly string[]>> = {
  serve: [
    "nightshift_control_leader",
    "nightshift_store_size_bytes",
    "nightshift_promotion_state",
    "nightshift_run_open",
    "nightshift_disk_free_bytes",
  ],
  collector: ["nightshift_collector_in_flight_bytes", "nightshift_collector_records_total", "nightshift_redaction_texts_total"],
  "collector-alone": ["nightshift_collector_in_flight_bytes"],
  ingest: ["nightshift_ingest_stored_total", "nightshift_transport_lag", "nightshift_ingest_delay_seconds_bucket"],
  gateway: ["nightshift_gateway_route_version", "nightshift_gateway_lease_age_seconds"],
  // It has nothing to load: stable is the base.
  "adapter-agent": [],
  up: ["nightshift_control_leader", "nightshift_store_size_bytes", "nightshift_loop_turn_duration_seconds_count"],
};

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
  const span = spanJson({ attributes: { "gen_ai.operation.name": "chat", note: "write to anna@example.com" } });
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify(traceRequest([span]));
  const answer = await fetch(`${stand.collectorUrl}/v1/traces`, { method: "POST", headers, body });
  expect(answer.status).toBe(200);
}, 300_000);
afterAll(() => stand?.close());

const series = async (match: string): Promise<Labels[]> => (await stand.prometheus.get("series", { "match[]": match })) as Labels[];
const namesOf = (found: readonly Labels[]): string[] => [...new Set(found.map((labels) => labels["__name__"] ?? ""))].toSorted();
const scraped = (name: ProcessName): Promise<Labels[]> =>
  series(`{__name__=~"nightshift_.+", job="nightshift", instance="${stand.targets[name]}"}`);

test.each(PROCESSES)("%s is scraped, and tells only what the table has", async (name) => {
  await until(`${name} scraped with what it tells`, 60_000, async () => {
    const names = namesOf(await scraped(name));
    return TELLS[name].every((expected) => names.includes(expected)) ? true : null;
  });
  const text = await (await fetch(`http://${stand.targets[name]}/metrics`)).text();
  const families = parseExposition(text).filter((family) => family.name !== "target_info");
  for (const sample of families.flatMap(({ samples }) => samples)) {
    const metric = known.get(sample.name);
    expect(sample.name).toBe(metric === undefined ? "in the table" : sample.name);
    const labels = new Set([...(metric?.attributes.map(prometheusLabel) ?? []), "le"]);
    for (const label of Object.keys(sample.labels)) expect([...labels]).toContain(label);
  }
  // No text, no customer, no path of this machine.
  expect(text).not.toMatch(/anna|example\.com|\/tmp\/|\/work\//);
});

test("what Prometheus is sent by OTLP has the names and labels of what it scrapes", async () => {
  for (const [service, names] of [
    ["serve", ["serve"]],
    ["ingest", ["ingest"]],
    ["gateway", ["gateway"]],
    ["collector", ["collector", "collector-alone"]],
    ["up", ["up"]],
  ] as const) {
    const shape = (found: readonly Labels[]): string[] =>
      [...new Set(found.map(({ job: _, instance: __, ...labels }) => JSON.stringify(Object.entries(labels).toSorted())))].toSorted();
    // The last export is up to 15 seconds old; scrapes are not.
    await until(`${service} alike`, 90_000, async () => {
      const sent = shape(await series(`{__name__=~"nightshift_.+", job="nightshift/nightshift-${service}"}`));
      const read = shape((await Promise.all(names.map(scraped))).flat());
      const [missing, more] = [read.filter((one) => !sent.includes(one)), sent.filter((one) => !read.includes(one))];
      if (missing.length + more.length > 0)
        throw new Error(`not sent ${missing.slice(0, 3).join()}; not scraped ${more.slice(0, 3).join()}`);
      return read.length > 0 ? true : null;
    });
  }
});

test("the rules are evaluated without an error, and the dashboards' queries answered", async () => {
  const rules = await until("every rule evaluated", 60_000, async () => {
    const { groups } = (await stand.prometheus.get("rules")) as {
      groups: { rules: { name: string; health: string; lastError?: string }[] }[];
    };
    const all = groups.flatMap((group) => group.rules);
    return all.length > 0 && all.every(({ health }) => health !== "unknown") ? all : null;
  });
  expect(rules.map(({ name }) => name).toSorted()).toEqual(
    readAlerts()
      .map(({ alert }) => alert)
      .toSorted(),
  );
  for (const { name, health, lastError } of rules) expect({ name, health, lastError }).toMatchObject({ health: "ok" });
  for (const { expr } of readDashboards().flatMap(({ dashboard }) => queriesOf(dashboard)))
    await stand.prometheus.get("query", { query: expr });
});

test("one leads, and the alerts say nothing while all is well but for the policy server", async () => {
  expect(
    await stand.prometheus.get("query", {
      query: 'sum(nightshift_control_leader{job="nightshift", instance!="' + stand.targets.up + '"})',
    }),
  ).toMatchObject({
    result: [{ value: [expect.any(Number), "1"] }],
  });
  const { alerts } = (await stand.prometheus.get("alerts")) as { alerts: { state: string; labels: Labels }[] };
  expect(alerts.filter(({ state }) => state === "firing").map(({ labels }) => labels["alertname"])).toEqual([]);
});

test("at SIGTERM each ends by itself and its listener with it", async () => {
  for (const name of PROCESSES) {
    const child = stand.children[name];
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    expect({ name, code: (await ended)[0] as number }).toEqual({ name, code: 0 });
    await expect(fetch(`http://${stand.targets[name]}/metrics`)).rejects.toThrow("fetch failed");
  }
}, 180_000);

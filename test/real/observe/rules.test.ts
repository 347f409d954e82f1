import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { queriesOf, readAlerts, readDashboards, RULES_FILE } from "../../deploy/observability-files.ts";
import { promtool } from "../parts/prometheus.ts";
import { ALERT_CASES, type AlertCase, type Series } from "./alert-cases.ts";

const alerts = readAlerts();
let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "nightshift-promtool-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Writes a file for promtool; JSON is YAML. */
function write(name: string, tree: object): string {
  const file = join(directory, name);
  writeFileSync(file, JSON.stringify(tree));
  return file;
}

test("promtool takes the rules", async () => {
  expect(await promtool(["check", "rules", RULES_FILE])).toContain(`SUCCESS: ${alerts.length} rules found`);
});

test("every query of every dashboard is PromQL", async () => {
  const queries = readDashboards().flatMap(({ dashboard }) => queriesOf(dashboard));
  const rules = queries.map(({ expr }, index) => ({ record: `query:${index}`, expr }));
  const file = write("queries.json", { groups: [{ name: "queries", rules }] });
  expect(await promtool(["check", "rules", file])).toContain(`SUCCESS: ${queries.length} rules found`);
});

test("a query with a mistake is not PromQL", async () => {
  const file = write("mistake.json", { groups: [{ name: "g", rules: [{ record: "r", expr: "sum by (le (rate(x[5m]))" }] }] });
  await expect(promtool(["check", "rules", file])).rejects.toThrow(/parse error/);
});

test("the config of the compose file's Prometheus is one", async () => {
  const file = join(import.meta.dirname, "../../../deploy/compose/prometheus.yml");
  expect(await promtool(["check", "config", "--syntax-only", file])).toContain("SUCCESS");
});

test("every alert has its numbers", () => {
  expect([...new Set(ALERT_CASES.map(({ alert }) => alert))].toSorted()).toEqual(alerts.map(({ alert }) => alert).toSorted());
});

/** Somebody leads, unless the case says who: all others would be told that nobody does. */
function world(series: readonly Series[], { alert }: AlertCase): object[] {
  const led: readonly Series[] =
    alert === "NightshiftNoLeader" ? series : [...series, ['nightshift_control_leader{instance="serve-0"}', "1x1000"]];
  return led.map(([name, values]) => ({ series: name, values }));
}

test.each(ALERT_CASES)("$alert fires, $of; and not where all is well", async (one) => {
  const rule = alerts.find(({ alert }) => alert === one.alert);
  const { fires, silentAtMinute } = one;
  const { description, runbook_url } = rule?.annotations ?? {};
  const fired = {
    exp_labels: { severity: one.severity ?? "warning", ...fires.labels },
    exp_annotations: { summary: fires.summary, description, runbook_url },
  };
  const at = (minute: number, alertname: string, expected: object[]) => ({ eval_time: `${minute}m`, alertname, exp_alerts: expected });
  const file = write("cases.json", {
    rule_files: [RULES_FILE],
    evaluation_interval: "1m",
    tests: [
      {
        interval: "1m",
        input_series: world(one.series, one),
        alert_rule_test: [
          at(fires.atMinute, one.alert, [fired]),
          ...(silentAtMinute === undefined ? [] : [at(silentAtMinute, one.alert, [])]),
        ],
      },
      {
        interval: "1m",
        input_series: world(one.well, one),
        alert_rule_test: alerts.map(({ alert }) => at(fires.atMinute, alert, [])),
      },
    ],
  });
  expect(await promtool(["test", "rules", file])).toContain("SUCCESS");
});

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";

const root = join(import.meta.dirname, "../..");

/** The rules as Prometheus reads them; another key is a typing error until it is added here. */
const rulesSchema = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string(),
          expr: z.string(),
          for: z.string().optional(),
          labels: z.strictObject({ severity: z.enum(["critical", "warning"]) }),
          annotations: z.strictObject({ summary: z.string(), description: z.string(), runbook_url: z.string() }),
        }),
      ),
    }),
  ),
});
export type Alert = z.infer<typeof rulesSchema>["groups"][number]["rules"][number];

const dataSource = z.strictObject({ type: z.literal("prometheus"), uid: z.literal("${datasource}") });

/** What of a dashboard our tests hold to; Grafana has many more keys. */
const dashboardSchema = z.looseObject({
  uid: z.string(),
  title: z.string(),
  description: z.string().min(1),
  templating: z.object({
    list: z.array(z.looseObject({ name: z.string(), type: z.string(), query: z.union([z.string(), z.object({ query: z.string() })]) })),
  }),
  panels: z.array(
    z.union([
      z.looseObject({ id: z.int(), type: z.literal("row"), title: z.string() }),
      z.looseObject({
        id: z.int(),
        type: z.enum(["timeseries", "stat", "state-timeline"]),
        title: z.string().min(1),
        description: z.string().min(1),
        datasource: dataSource,
        gridPos: z.object({ x: z.int(), y: z.int(), w: z.int(), h: z.int() }),
        fieldConfig: z.looseObject({ defaults: z.looseObject({ unit: z.string().min(1) }) }),
        targets: z.array(z.looseObject({ datasource: dataSource, expr: z.string().min(1), legendFormat: z.string() })).min(1),
      }),
    ]),
  ),
});
export type Dashboard = z.infer<typeof dashboardSchema>;

export const RULES_FILE = join(root, "deploy/alerts/nightshift.rules.yaml");

/** @throws ZodError */
export function readAlerts(): Alert[] {
  return rulesSchema.parse(parse(readFileSync(RULES_FILE, "utf8"))).groups.flatMap(({ rules }) => rules);
}

/** Every dashboard by its file's name, with the file's text. @throws ZodError */
export function readDashboards(): { file: string; text: string; dashboard: Dashboard }[] {
  const folder = join(root, "deploy/dashboards");
  return readdirSync(folder).map((file) => {
    const text = readFileSync(join(folder, file), "utf8");
    return { file, text, dashboard: dashboardSchema.parse(JSON.parse(text)) };
  });
}

/** Every query of a dashboard, Grafana's variables replaced as it would, so that a parser of PromQL takes it. */
export function queriesOf({ panels }: Dashboard): { panel: string; expr: string }[] {
  return panels.flatMap((panel) =>
    "targets" in panel
      ? (panel.targets as { expr: string }[]).map(({ expr }) => ({
          panel: panel.title,
          expr: expr.replaceAll("$__rate_interval", "5m").replaceAll(/\$(namespace|agent)\b/g, ".*"),
        }))
      : [],
  );
}

export function readRunbook(): string {
  return readFileSync(join(root, "docs/runbook.md"), "utf8");
}

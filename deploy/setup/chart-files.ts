import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { configSchema } from "../../src/config.ts";
import { chartValues } from "./chart-values.ts";

const deploy = join(import.meta.dirname, "..");

/** What the chart ships of deploy/: Helm reads nothing outside the chart's own folder. By path below helm/. */
export function chartFiles(): { path: string; text: string }[] {
  const dashboards = readdirSync(join(deploy, "dashboards")).filter((name) => name.endsWith(".json"));
  return [
    { path: "values.schema.json", text: chartSchema() },
    { path: "files/alerts.yaml", text: readFileSync(join(deploy, "alerts/nightshift.rules.yaml"), "utf8") },
    ...dashboards.map((name) => ({ path: `files/dashboards/${name}`, text: readFileSync(join(deploy, "dashboards", name), "utf8") })),
  ];
}

interface Node {
  [key: string]: unknown;
  properties?: Record<string, Node>;
  oneOf?: Node[];
  anyOf?: Node[];
  required?: string[];
}

/** helm/values.schema.json, as text. `config` in it is the product's own schema: a typing error there is refused by Helm, too. */
function chartSchema(): string {
  const schema = draft7(chartValues);
  const config = draft7(configSchema);
  const jobRunner = kubernetesRunner(config);
  const properties = schema.properties ?? {};
  properties["config"] = { ...withoutSchemaKey(config), description: properties["config"]?.["description"] };
  const trainer = properties["trainer"]?.properties;
  if (trainer !== undefined && jobRunner !== null) trainer["jobRunner"] = jobRunner;
  return `${JSON.stringify(forHelm(schema), null, 2)}\n`;
}

/** The newest draft that every Helm from 3 on reads. */
function draft7(schema: z.ZodType): Node {
  return z.toJSONSchema(schema, { io: "input", target: "draft-7" }) as Node;
}

function withoutSchemaKey(node: Node): Node {
  const { $schema: _, ...rest } = node;
  return rest;
}

/** What `trainer.jobRunner` may say of `training.jobRunner`: any of the Kubernetes driver's keys, none of them required since the chart knows those. */
function kubernetesRunner(config: Node): Node | null {
  const runner = config.properties?.["training"]?.properties?.["jobRunner"];
  const found = [...(runner?.oneOf ?? []), ...(runner?.anyOf ?? [])].find(
    ({ properties }) => properties?.["driver"]?.["const"] === "kubernetes",
  );
  if (found === undefined) return null;
  const { driver: _, ...properties } = found.properties ?? {};
  return { type: "object", properties, additionalProperties: false, description: "More keys of config.training.jobRunner." };
}

/** Helm's regular expressions look neither ahead nor behind. Such a pattern is checked by the process that reads the config. */
function forHelm(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(forHelm);
  if (value === null || typeof value !== "object") return value;
  const kept = Object.entries(value).filter(([key, one]) => !(key === "pattern" && typeof one === "string" && /\(\?[=!<]/.test(one)));
  return Object.fromEntries(kept.map(([key, one]) => [key, forHelm(one)]));
}

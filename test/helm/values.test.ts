import { Ajv } from "ajv";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { chart, examples, readChart } from "./objects.ts";

/** What Helm checks, by the schema that Helm reads. Helm lays the user's values over the chart's first. */
const schema = JSON.parse(readChart("values.schema.json")) as Node;
const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
const defaults = parse(readChart("values.yaml")) as Tree;

type Tree = Record<string, unknown>;
interface Node {
  type?: string;
  properties?: Record<string, Node>;
  additionalProperties?: boolean | Node;
  patternProperties?: Record<string, Node>;
  items?: Node;
}

function over(below: unknown, above: unknown): unknown {
  if (!isTree(below) || !isTree(above)) return above;
  return { ...below, ...Object.fromEntries(Object.entries(above).map(([key, value]) => [key, over(below[key], value)])) };
}

function isTree(value: unknown): value is Tree {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** What is wrong, each as the path of the value that Helm names. */
function wrongIn(values: unknown): string[] {
  validate(over(defaults, values));
  return (validate.errors ?? []).map(({ instancePath, params }) => {
    const { additionalProperty: unknown, missingProperty: missing } = params as { additionalProperty?: string; missingProperty?: string };
    return [...instancePath.split("/").slice(1), ...[unknown ?? missing].filter((one) => one !== undefined)].join(".");
  });
}

describe("values.schema.json is generated from zod, additionalProperties false", () => {
  test("the chart's own values fit", () => {
    expect(wrongIn({})).toEqual([]);
  });

  test.each(examples)("the values of the example %s fit", (example) => {
    expect(wrongIn(parse(readChart(`examples/${example}/values.yaml`)))).toEqual([]);
  });

  test("every object with named keys takes no others", () => {
    const open: string[] = [];
    const look = (node: Node, path: string): void => {
      if (node.properties !== undefined && node.additionalProperties === undefined) open.push(path);
      for (const [key, child] of Object.entries(node.properties ?? {})) look(child, `${path}.${key}`);
      if (typeof node.additionalProperties === "object") look(node.additionalProperties, `${path}.*`);
      if (node.items !== undefined) look(node.items, `${path}[]`);
    };
    look(schema, "values");
    expect(open).toEqual([]);
    expect(schema.additionalProperties).toBe(false);
  });

  test("values.yaml names every key, and none without a comment above its block", () => {
    const known = Object.keys(schema.properties ?? {}).filter((key) => key !== "global");
    expect(Object.keys(defaults).toSorted()).toEqual(known.toSorted());
  });

  test("no pattern looks ahead or behind, which Helm's expressions cannot", () => {
    expect(readChart("values.schema.json")).not.toMatch(/"pattern": ".*\(\?[=!<]/);
  });
});

test("the chart is of the product's version, and names its images by it", () => {
  const { version } = JSON.parse(readFileSync(join(chart, "../package.json"), "utf8")) as { version: string };
  expect(parse(readChart("Chart.yaml"))).toMatchObject({ version, appVersion: version });
  for (const sidecar of ["collector", "adapter-agent"])
    expect(readChart(`examples/sidecars/${sidecar}.yaml`)).toContain(`image: nightshift:${version}\n`);
});

describe("wrong values fail with the field's name", () => {
  const WRONG: { values: Tree; field: string }[] = [
    { values: { replicas: 3 }, field: "replicas" },
    { values: { serve: { replicas: "two" } }, field: "serve.replicas" },
    { values: { serve: { port: 70_000 } }, field: "serve.port" },
    { values: { serve: { resources: { limits: { memory: "lots" } } } }, field: "serve.resources.limits.memory" },
    { values: { gateway: { service: { type: "External" } } }, field: "gateway.service.type" },
    { values: { images: { nightshift: { digest: "1111" } } }, field: "images.nightshift.digest" },
    { values: { images: { pullPolicy: "Sometimes" } }, field: "images.pullPolicy" },
    { values: { secrets: { postgresUrl: { value: "postgres://…" } } }, field: "secrets.postgresUrl.value" },
    { values: { secrets: { files: [{ file: "../key", processes: ["serve"] }] } }, field: "secrets.files.0.file" },
    { values: { secrets: { files: [{ file: "key", processes: ["trainer"] }] } }, field: "secrets.files.0.processes.0" },
    { values: { baseModel: { volume: { hostPath: { path: "/models" } } } }, field: "baseModel.volume.hostPath" },
    { values: { nights: { schedule: "at night" } }, field: "nights.schedule" },
    { values: { nights: { agents: { support: { cron: "0 1 * * *" } } } }, field: "nights.agents.support.cron" },
    { values: { vllm: { maxLoras: 1 } }, field: "vllm.maxLoras" },
    { values: { networkPolicy: { egress: { internet: [] } } }, field: "networkPolicy.egress.internet" },
    { values: { ingest: { extraEnv: { "lower-case": "x" } } }, field: "ingest.extraEnv" },
    { values: { config: { agent: {} } }, field: "config.agent" },
    { values: { config: { agents: { support: { baseModel: "/models/base" } } } }, field: "config.agents.support.model" },
    { values: { config: { gateway: { leaseMs: 60_000 } } }, field: "config.gateway.leaseMs" },
    { values: { config: { api: { tokens: { operator: ["not a hash"] } } } }, field: "config.api.tokens.operator.0" },
  ];

  test.each(WRONG)("$field", ({ values, field }) => {
    expect(wrongIn(values)).toContain(field);
  });
});

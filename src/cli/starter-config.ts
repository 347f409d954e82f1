import { stringify } from "yaml";
import { z } from "zod";
import { configSchema, parseConfig } from "../config.ts";

export interface Starter {
  agent: string;
  serviceName?: string;
  model: string;
  baseModel: string;
  policyServers: readonly string[];
  judgeModel?: string;
  judgeUrl?: string;
  gateJudgeModel?: string;
}

/**
 * The text of a config to start from: what the user said is live, every other key stands there with its meaning and default, commented out. A key line is
 * `#` and then the line as it would stand (its indentation included), so that taking that character away is all it takes to use it; prose starts with `# `.
 * @throws NightshiftError `config_invalid` when what the user said is no valid config
 */
export function starterConfig(starter: Starter): string {
  const agent = agentTree(starter);
  parseConfig({ agents: { [starter.agent]: agent } });
  const schema = z.toJSONSchema(configSchema, { io: "input" }) as Node;
  const agentNode = recordOf(schema.properties?.["agents"]);
  return [
    "# Nightshift's config. Every key can also come from the environment: NIGHTSHIFT_GATEWAY__PORT=9090 sets gateway.port.",
    "# Paths are relative to the directory that `nightshift up` is started in.",
    "",
    "agents:",
    `  ${starter.agent}:`,
    ...indent(stringify(agent).trimEnd().split("\n"), 4),
    ...(starter.judgeModel === undefined ? JUDGE_HINT : []),
    ...commented(agentNode, 4, new Set([...Object.keys(agent), "judge", "pairJudge"])),
    "",
    "# Everything else, with its default.",
    ...commented(schema, 0, new Set(["agents", "tenants"])),
    "# Training-isolation domains by slug.",
    "#tenants:",
    "#  default:",
    ...commented(recordOf(schema.properties?.["tenants"]), 4, new Set()),
    "",
  ].join("\n");
}

const JUDGE_HINT = [
  "    # Without a judge, conversations are captured and every night is refused. The gate's judge must be another model than the training's.",
  "#    judge: {driver: ruler, model: NAME, baseUrl: http://127.0.0.1:8001/v1, apiKeyFile: /run/secrets/judge}",
  "#    pairJudge: {driver: ruler, model: ANOTHER, baseUrl: http://127.0.0.1:8001/v1, apiKeyFile: /run/secrets/judge}",
];

function agentTree({
  agent,
  serviceName,
  model,
  baseModel,
  policyServers,
  judgeModel,
  judgeUrl,
  gateJudgeModel,
}: Starter): Record<string, unknown> {
  const judge = (name: string | undefined): object | undefined =>
    name === undefined ? undefined : { driver: "ruler", model: name, ...(judgeUrl === undefined ? {} : { baseUrl: judgeUrl }) };
  const tree = {
    match: { serviceName: serviceName ?? agent },
    model,
    baseModel,
    policyServers: policyServers.map((url) => ({ url })),
    judge: judge(judgeModel),
    pairJudge: judge(gateJudgeModel),
  };
  return Object.fromEntries(Object.entries(tree).filter(([, value]) => value !== undefined));
}

interface Node {
  description?: string;
  default?: unknown;
  properties?: Record<string, Node>;
  required?: readonly string[];
  additionalProperties?: Node | boolean;
}

function recordOf(node: Node | undefined): Node {
  return typeof node?.additionalProperties === "object" ? node.additionalProperties : {};
}

/** Every key below `node` as comment lines: its meaning, then `#key: default`. Keys without a default have no value to show and stand as prose. */
function commented(node: Node, depth: number, without: ReadonlySet<string>): string[] {
  const pad = " ".repeat(depth);
  return Object.entries(node.properties ?? {})
    .filter(([key]) => !without.has(key))
    .flatMap(([key, child]) => {
      const meaning = child.description === undefined ? [] : [`${pad}# ${child.description}`];
      if (child.properties !== undefined) {
        const below = commented(child, depth + 2, new Set());
        // A key whose children are all unset would read as null.
        const isEmpty = !below.some((line) => line.startsWith("#"));
        // What it must have, only the operator knows: all of it stands as prose.
        if ((child.required ?? []).length > 0 || child.default === undefined) {
          const prose = below.map((line) => line.replace(/^#( *)(?=\S)/, "$1# "));
          return [`${pad}# ${key}: ${child.description ?? ""} (not set)`, ...prose];
        }
        return [...meaning, `#${pad}${key}:${isEmpty ? " {}" : ""}`, ...below];
      }
      if (child.default === undefined) return [`${pad}# ${key}: ${child.description ?? ""} (not set)`];
      return [...meaning, `#${pad}${key}: ${JSON.stringify(child.default)}`];
    });
}

function indent(lines: readonly string[], depth: number): string[] {
  return lines.map((line) => (line === "" ? "" : " ".repeat(depth) + line));
}

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { startProgram, type Started } from "../../deploy/quickstart/processes.ts";
import { AGENT, quickstartConfig } from "../../deploy/quickstart/settings.ts";
import { killNow } from "./processes.ts";
import { ROOT } from "./small-shop.ts";

const MAIN = join(ROOT, "src/cli/main.ts");
let directory: string;
let holder: Started<unknown>;
let taken: Server;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "nightshift-startup-"));
  // Without agents nothing needs Python: this one only holds the data directory.
  holder = await startProgram({
    name: "up",
    args: [MAIN, "up", "--config", await configFile("holder", withoutAgents("held")), "--json"],
    env: {},
    logFile: join(directory, "holder.log"),
  });
  taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
});

afterAll(async () => {
  taken?.close();
  if (holder !== undefined) await killNow(holder.child);
  if (directory !== undefined) await rm(directory, { recursive: true, force: true });
});

function withoutAgents(dataDir: string): Record<string, unknown> {
  const { agents: _, ...tree } = quickstartConfig({ root: ROOT, dataDir: join(directory, dataDir), seed: 1, sabotage: null });
  return { ...tree, logLevel: "silent" };
}

/** The quickstart's config with `agent` merged over its agent. */
function withAgent(dataDir: string, agent: Record<string, unknown>, rest: Record<string, unknown> = {}): Record<string, unknown> {
  const tree = quickstartConfig({ root: ROOT, dataDir: join(directory, dataDir), seed: 1, sabotage: null });
  const agents = tree["agents"] as Record<string, Record<string, unknown>>;
  return { ...tree, logLevel: "silent", agents: { [AGENT]: { ...agents[AGENT], ...agent } }, ...rest };
}

async function configFile(name: string, tree: Record<string, unknown>): Promise<string> {
  const file = join(directory, `${name}.yaml`);
  await writeFile(file, stringify(tree));
  return file;
}

/** Runs `nightshift up` to its end, which must come by itself. */
async function failingUp(file: string): Promise<{ code: number | null; lines: string[] }> {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, "up", "--config", file], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  clearTimeout(timer);
  return { code, lines: output.trimEnd().split("\n") };
}

interface Case {
  name: string;
  tree: () => Record<string, unknown>;
  code: number;
  /** What the first line says. */
  says: () => RegExp;
  /** What the fix says. */
  fix: RegExp;
}

const port = (server: Server): number => (server.address() as AddressInfo).port;

const CASES: Case[] = [
  {
    name: "the data directory belongs to another process",
    tree: () => withoutAgents("held"),
    code: 1,
    says: () => new RegExp(`data directory \\S*held\\S* is in use by process ${holder.child.pid}$`),
    fix: /Stop that process/,
  },
  {
    name: "the data directory cannot be made",
    tree: () => withoutAgents("holder.yaml/data"),
    code: 1,
    says: () => /cannot write in the data directory \S*holder\.yaml\S*: ENOTDIR/,
    fix: /another dataDir/,
  },
  ...(["collector", "gateway", "api"] as const).map((listener) => ({
    name: `the port of the ${listener} is taken`,
    tree: () => ({ ...withoutAgents(`port-${listener}`), [listener]: { port: port(taken) } }),
    code: 1,
    says: () => new RegExp(`cannot listen on 127\\.0\\.0\\.1:${port(taken)}: the port is taken$`),
    fix: /another port/,
  })),
  {
    name: "the port of the metrics is taken",
    tree: () => ({ ...withoutAgents("port-metrics"), telemetry: { prometheus: { port: port(taken) } } }),
    code: 1,
    says: () => new RegExp(`the Prometheus endpoint cannot listen on 127\\.0\\.0\\.1:${port(taken)}: the port is taken$`),
    fix: /another port/,
  },
  {
    name: "there is no Python where the config says",
    tree: () => withAgent("no-python", {}, { python: join(directory, "nowhere/python") }),
    code: 1,
    says: () => /nowhere\/python.*there is no such file$/,
    fix: /Python >= 3\.11/,
  },
  {
    name: "a config value is wrong",
    tree: () => withAgent("bad-config", { night: { groupSize: "many" } }),
    code: 2,
    says: () => new RegExp(`^config agents\\.${AGENT}\\.night\\.groupSize: .*received "many"`),
    fix: /Correct the value/,
  },
  {
    name: "the config has a key that nothing reads",
    tree: () => withAgent("unknown-key", { nihgt: {} }),
    code: 2,
    says: () => /nihgt/,
    fix: /Correct the value/,
  },
  {
    name: "there is no base model where the config says",
    tree: () => withAgent("no-model", { baseModel: join(directory, "no-such-model") }),
    code: 2,
    says: () => new RegExp(`^config agents\\.${AGENT}\\.baseModel: .*no-such-model`),
    fix: /Correct the value/,
  },
  {
    name: "the base model's directory holds no model",
    tree: () => withAgent("empty-model", { baseModel: directory }),
    code: 1,
    says: () => /no base model: config\.json or \*\.safetensors is missing$/,
    fix: /./,
  },
  {
    name: "the scripted judge's module is not there",
    tree: () => withAgent("no-judge", { judge: { driver: "scripted", module: join(directory, "no-judge.ts") } }),
    code: 1,
    says: () => /^scripted judge .*no-judge\.ts: /,
    fix: /exports scoreGroup/,
  },
];

test.each(CASES)("$name: one line, the fix, and an exit code", async ({ tree, name, code, says, fix }) => {
  const result = await failingUp(await configFile(name.replaceAll(/[^a-z]+/g, "-"), tree()));
  expect(result.lines).toHaveLength(2);
  expect(result.lines[0]).toMatch(says());
  expect(result.lines[1]).toMatch(/^ {2}fix: /);
  expect(result.lines[1]).toMatch(fix);
  expect(result.code).toBe(code);
});

test("a config file that is not there is named, with exit code 2", async () => {
  const result = await failingUp(join(directory, "absent.yaml"));
  expect(result.lines).toHaveLength(2);
  expect(result.lines[0]).toMatch(/absent\.yaml cannot be read/);
  expect(result.code).toBe(2);
});

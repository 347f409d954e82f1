import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { loadConfig, parseConfig } from "../../src/config.ts";
import { starterConfig } from "../../src/cli/starter-config.ts";
import { cli } from "./terminal.ts";

const dir = mkdtempSync(join(tmpdir(), "nightshift-cli-"));
afterAll(() => rmSync(dir, { recursive: true }));

function configFile(text: string): string {
  const file = join(dir, `${Math.random()}.yaml`);
  writeFileSync(file, text);
  return file;
}

it("says its version", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
  expect(await cli(["--version"])).toMatchObject({ code: 0, out: `nightshift ${version}`, err: "" });
});

describe("bad usage exits 2 with what is wrong and the fix", () => {
  it.each([
    { args: ["nope"], says: /unknown command 'nope'/ },
    { args: ["up", "--nope"], says: /unknown option '--nope'/ },
    { args: ["replay"], says: /missing required argument 'conversation'/ },
    { args: ["status", "--url", "ftp://x"], says: /ftp:\/\/x is not an http url/ },
    { args: ["status", "--token-file", "/nonexistent"], says: /token file \/nonexistent cannot be read/ },
    { args: ["import"], says: /missing required argument 'file'/ },
    { args: ["import", "x", "--format", "csv"], says: /argument 'csv' is invalid. Allowed choices are otlp, langfuse, openai/ },
    { args: ["import", "x", "--time", "noon"], says: /--time noon is no time/ },
    { args: ["import", "x", "--concurrency", "0"], says: /--concurrency 0 is no whole number above 0/ },
    { args: ["import", "x", "--endpoint", "ftp://x"], says: /ftp:\/\/x is not an http url/ },
    { args: ["up", "--config", "/nonexistent.yaml"], says: /config file \/nonexistent.yaml cannot be read/ },
  ])("$args", async ({ args, says }) => {
    const { code, out, err } = await cli(args);
    expect(code).toBe(2);
    expect(out).toBe("");
    expect(err).toMatch(says);
    expect(err).toMatch(/\n {2}fix: \S/);
  });
});

describe("a bad config", () => {
  it.each([
    { text: "gateway:\n  port: 99999\n", line: /^config gateway\.port: .*\(received 99999\)$/m },
    { text: "gatway: {}\n", line: /^config \(root\): Unrecognized key: "gatway"/m },
    {
      text: "agents:\n  a: {model: m, baseModel: b, tenant: other}\n",
      line: /^config agents\.a\.tenant: names no key of tenants \(received "other"\)$/m,
    },
  ])("names path and value: $text", async ({ text, line }) => {
    const { code, err } = await cli(["up", "--config", configFile(text)]);
    expect(code).toBe(2);
    expect(err.split("\n")).toHaveLength(2);
    expect(err).toMatch(line);
  });

  it("may come from the environment", async () => {
    const { code, err } = await cli(["up"], { NIGHTSHIFT_API__PORT: "many" });
    expect(code).toBe(2);
    expect(err).toContain('config api.port: Invalid input: expected number, received string (received "many")');
  });

  it("of the gateway as its own process says what only matters there", async () => {
    const agent = "agents:\n  a: {model: m, baseModel: b}\n";
    const alone = await cli(["gateway", "--config", configFile(agent)]);
    expect(alone).toMatchObject({ code: 2, out: "" });
    expect(alone.err).toMatch(/^config gateway\.controlUrl: /);
    const unserved = await cli([
      "gateway",
      "--config",
      configFile(`${agent}dataDir: ${dir}/g\ngateway: {controlUrl: "http://127.0.0.1:9"}\n`),
    ]);
    expect(unserved.code).toBe(2);
    expect(unserved.err).toMatch(/^config agents\.a\.policyServers: /);
  });

  it.each([
    {
      command: "collector",
      text: "",
      says: /^config transport\.driver: the inline transport ends in one process; the collector needs kafka, or use `nightshift up` \(received "inline"\)$/m,
    },
    {
      command: "ingest",
      text: "",
      says: /^config transport\.driver: the inline transport ends in one process; ingest needs kafka, or use `nightshift up` \(received "inline"\)$/m,
    },
    {
      command: "ingest",
      text: "transport: {driver: kafka, brokers: ['k:9092']}\n",
      says: /^config store\.driver: .* \(received "pglite"\)$/m,
    },
    { command: "up", text: "transport: {driver: kafka, brokers: [k]}\n", says: /^config transport\.brokers\.0: a broker is host:port/m },
    {
      command: "up",
      text: "transport: {driver: kafka, brokers: ['k:9092'], tenant: other}\n",
      says: /^config transport\.tenant: names no key of tenants \(received "other"\)$/m,
    },
    {
      command: "collector",
      text: "transport: {driver: kafka, brokers: ['k:9092'], sasl: {mechanism: plain, username: u, passwordFile: /nonexistent}}\n",
      says: /^the file \/nonexistent, named in transport, cannot be read: ENOENT/m,
    },
  ])("of $command with $text", async ({ command, text, says }) => {
    const { code, err } = await cli([command, "--config", configFile(`dataDir: ${dir}/k\n${text}`)]);
    expect(err).toMatch(says);
    expect(code).toBeGreaterThan(0);
  });
});

describe("up", () => {
  it("says that the Python is none before it starts anything", async () => {
    const file = configFile(`python: ${dir}/no-python\nagents:\n  a: {model: m, baseModel: b}\n`);
    const { code, err } = await cli(["up", "--config", file]);
    expect(code).toBe(1);
    expect(err.split("\n")[0]).toBe(`Python ${dir}/no-python cannot run the trainer: there is no such file`);
    expect(err).toContain("\n  fix: ");
  });
});

describe("help", () => {
  it.each([
    "up",
    "run",
    "report",
    "runs",
    "adapters",
    "trajectories",
    "groups",
    "replay",
    "lineage",
    "promote",
    "doctor",
    "init",
    "gateway",
    "import",
    "status",
  ])("of %s has examples and exits 0", async (command) => {
    const { code, out } = await cli([command, "--help"]);
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`Examples:\\n  (?:.* )?nightshift ${command}`));
  });

  it("documents the exit codes", async () => {
    const { code, out } = await cli(["--help"]);
    expect(code).toBe(0);
    expect(out).toMatch(/0 {2}done\n {2}1 {2}what was asked for failed\n {2}2 {2}bad config or bad usage/);
  });
});

describe("init", () => {
  it("writes a config that loads, and replaces none", async () => {
    const file = join(dir, "nightshift.yaml");
    const args = ["init", "--file", file, "--agent", "support", "--policy-server", "http://vllm-0:8000", "http://vllm-1:8000"];
    expect((await cli(args)).code).toBe(0);
    const config = loadConfig({ file, env: {} });
    expect(config.agents["support"]?.policyServers).toMatchObject([{ url: "http://vllm-0:8000" }, { url: "http://vllm-1:8000" }]);
    const again = await cli(args);
    expect(again.code).toBe(2);
    expect(again.err).toContain(`${file} exists already`);
  });

  it("shows every key with its default: what is commented out is what holds without it", () => {
    const text = starterConfig({ agent: "a", model: "m", baseModel: "b", policyServers: [] });
    const bare = parseConfig(parse(text));
    const uncommented = text
      .split("\n")
      .filter((line) => !/^ *# \S/.test(line) && !/^# *(judge|pairJudge):/.test(line))
      .map((line) => line.replace(/^#/, ""))
      .join("\n");
    expect(parseConfig(parse(uncommented))).toEqual(bare);
    expect(uncommented).toContain("leaseMs: 15000");
  });

  it("refuses what is no config", async () => {
    const { code, err } = await cli(["init", "--file", "-", "--policy-server", "not a url"]);
    expect(code).toBe(2);
    expect(err).toContain("config agents.my-agent.policyServers.0.url");
  });
});

describe("doctor", () => {
  it("exits 1 with every finding's fix", async () => {
    const file = configFile(`dataDir: ${dir}/data\npython: ${dir}/no-python\nagents:\n  a: {model: m, baseModel: ${dir}/no-model}\n`);
    const { code, out } = await cli(["doctor", "--config", file, "--url", "http://127.0.0.1:1", "--json"]);
    expect(code).toBe(1);
    const { findings } = JSON.parse(out) as { findings: { check: string; status: string; fix?: string }[] };
    const bad = findings.filter(({ status }) => status === "bad").map(({ check }) => check);
    expect(bad).toEqual(expect.arrayContaining(["python", "a: base model", "a: judge", "a: gate's judge"]));
    expect(findings.filter(({ status, fix }) => status !== "ok" && !fix)).toEqual([]);
    expect(findings.find(({ check }) => check === "api")?.status).toBe("warn");
  });

  it("finds the judge that also rewards the training", async () => {
    const judge = "{driver: ruler, model: same}";
    const file = configFile(`agents:\n  a: {model: m, baseModel: b, judge: ${judge}, pairJudge: ${judge}}\n`);
    const { out } = await cli(["doctor", "--config", file, "--url", "http://127.0.0.1:1"]);
    expect(out).toMatch(/^BAD {3}a: gate's judge: same also rewards the training$/m);
  });

  it("goes on with the rest when the config cannot be read", async () => {
    const { code, out } = await cli(["doctor", "--config", "/nonexistent.yaml", "--url", "http://127.0.0.1:1"]);
    expect(code).toBe(1);
    expect(out).toMatch(/^BAD {3}config: /);
    expect(out).toContain("warn  api:");
  });
});

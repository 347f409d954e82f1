import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { createBootstrapDesk } from "../../src/app/bootstrap-desk.ts";
import { createAgentSandbox } from "../../src/app/sandbox.ts";
import { parseConfig } from "../../src/config.ts";
import { silentLog } from "../../src/log.ts";
import type { Database } from "../../src/store/database.ts";
import type { BootstrapDryRun } from "../../src/training/bootstrap-plan.ts";
import { cli } from "../cli/terminal.ts";
import { startJudgeServer, type JudgeServer } from "../reward/judge-server.ts";
import { startSandboxServer, type SandboxServer } from "../rollout/live/sandbox-server.ts";
import { memoryDatabase } from "../store/memory-database.ts";
import { createWriter } from "../training/bootstrap-world.ts";
import { apiWorld, type ApiWorld } from "./world.ts";

/** `nightshift bootstrap` from the command line through the API to a server's tools and an LLM over HTTP. */
const directory = mkdtempSync(join(tmpdir(), "nightshift-bootstrap-api-"));
let database: Database;
let llm: JudgeServer;
let sandbox: SandboxServer;
let api: ApiWorld | null = null;
beforeAll(async () => {
  database = await memoryDatabase();
  llm = await startJudgeServer(createWriter());
});
beforeEach(async () => {
  sandbox = await startSandboxServer();
});
afterEach(async () => {
  await api?.close();
  api = null;
  await sandbox.close();
});
afterAll(async () => {
  await llm.close();
  await database.close();
  rmSync(directory, { recursive: true });
});

/** Serves the agent with this `bootstrap` and gives the command line of it. */
async function serve(bootstrap: object | undefined, more: object = {}) {
  const simulator = { model: "writer", baseUrl: llm.url };
  const agent = {
    ...{ gate: { enabled: false }, judge: { driver: "scripted", module: "m" }, replay: { simulator }, scenario: { heldOutShare: 0.3 } },
    ...(bootstrap === undefined ? {} : { bootstrap: { sandboxed: true, tasks: 10, ...bootstrap } }),
    ...more,
  };
  const config = parseConfig({ agents: { support: { model: "support", baseModel: "base", ...agent } } }).agents["support"];
  if (config === undefined) throw new Error("the config has its agent");
  const served = await apiWorld(database, {
    agent,
    bootstrap: (deps) => {
      const sandboxOf = createAgentSandbox("support", config, { ...deps, log: silentLog(), env: {} });
      return createBootstrapDesk({ agent: "support", config, identity: null, sandbox: sandboxOf }, deps);
    },
  });
  api = served;
  return { served, nightshift: (...args: string[]) => cli(["bootstrap", "--agent", "support", "--url", served.url, ...args]) };
}

test("a dry run prints the tasks and the sides they are on, and calls no tool", async () => {
  const { nightshift } = await serve({
    server: { url: sandbox.url },
    reset: { tool: "reset_shop" },
    instructions: "Orders are A1 and A2.",
  });
  const { code, out, err } = await nightshift("--dry-run", "--json");
  expect(code).toBe(0);
  const plan = JSON.parse(out) as BootstrapDryRun;
  expect(plan).toMatchObject({ agent: "support", isolation: "reset", tools: [{ name: "lookup_order" }, { name: "issue_refund" }] });
  expect(plan.tasks.map(({ difficulty }) => difficulty).toSorted((a, b) => a - b)).toEqual([1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
  expect(err).toBe("8 of 10 tasks made up");
  expect(llm.requests[0]?.messages[0]?.content).toContain("The operator says: Orders are A1 and A2.");
  expect(sandbox.shop.calls).toEqual([]);

  // The same again: what a look showed is what a run plays, and costs nothing more.
  const asked = llm.requests.length;
  const again = await nightshift("--dry-run");
  expect(llm.requests).toHaveLength(asked);
  for (const { text, split } of plan.tasks) {
    const line = again.out.split("\n").find((one) => one.includes(text));
    expect(line).toMatch(split === "train" ? /^train/ : /^held out/);
  }
  expect(again.out).toMatch(/rollouts' worlds +the sandbox is set back before each; one after another/);
});

test("a run is a row that says what it was asked for", async () => {
  const { nightshift, served } = await serve({ server: { url: sandbox.url }, systemPrompt: "Be kind." });
  const file = join(directory, "prompt.txt");
  writeFileSync(file, "Be brief.");
  const { code, out } = await nightshift("--tasks", "4", "--system-prompt-file", file, "--json");
  expect(code).toBe(0);
  const { runId } = JSON.parse(out) as { runId: string };
  expect(await served.runs.get(runId)).toMatchObject({ state: "running", plan: { bootstrap: { tasks: 4, systemPrompt: "Be brief." } } });
  expect(served.woken()).toBe(1);
  expect(await nightshift()).toMatchObject({ code: 1, err: expect.stringContaining("already has a run in progress") });
  await served.runs.finish(runId, "cancelled", { kind: "nothing_to_learn", reason: "a test" }, 1);
});

test.each([
  ["no server is named", undefined, {}, /^agents\.support\.bootstrap is not configured\n {2}fix: Name the sandboxed MCP server/],
  [
    "nobody says that it is a sandbox",
    { sandboxed: false },
    {},
    /is not declared to be a sandbox: nothing is run against it\n {2}fix: .*sandboxed: true/,
  ],
  ["no LLM is there to make tasks up", {}, { replay: {} }, /^agent support has no LLM that could make up tasks\n/],
])("where %s the command ends with 2, a dry run too, and the server is not asked", async (_, bootstrap, more, message) => {
  const { nightshift, served } = await serve(bootstrap === undefined ? undefined : { server: { url: sandbox.url }, ...bootstrap }, more);
  for (const args of [[], ["--dry-run"]]) {
    const { code, err, out } = await nightshift(...args);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toMatch(message);
  }
  expect(await served.runs.list({ state: "running", limit: 1 })).toEqual([]);
  expect(sandbox.credentials).toEqual([]);
});

test("a dry run against a server that is away ends with 1 and says what is wrong", async () => {
  const { nightshift } = await serve({ server: { url: sandbox.url } });
  sandbox.refuse = () => new Response(null, { status: 500 });
  const { code, err } = await nightshift("--dry-run");
  expect(code).toBe(1);
  expect(err).toMatch(/^MCP server http:\/\/127\.0\.0\.1:\d+ did not answer: HTTP 500\n {2}fix: /);
});

test.each([
  [["--tasks", "1"], "--tasks 1 is no whole number from 2 to 512"],
  [["--tasks", "many"], "--tasks many is no whole number from 2 to 512"],
  [["--system-prompt-file", "/no/such/file"], "--system-prompt-file /no/such/file cannot be read"],
])("%j is bad usage", async (args, problem) => {
  const { code, err } = await cli(["bootstrap", "--agent", "support", "--url", "http://127.0.0.1:9", ...args]);
  expect(code).toBe(2);
  expect(err).toContain(problem);
});

test.each([
  [{ server: {} }, "name either a url or a command"],
  [{ server: { url: "http://a/mcp", command: ["b"] } }, "name either a url or a command"],
  [{ server: { command: ["b"], tokenFile: "t" } }, "belongs to a url"],
  [{ server: { url: "http://a/mcp" }, reset: {} }, "name one of tool, command and url"],
  [
    { server: { url: "http://a/mcp" }, reset: { tool: "r" }, worldPerConnection: true },
    "is not needed where every connection has a world of its own",
  ],
])("config %j is refused", (bootstrap, problem) => {
  expect(() => parseConfig({ agents: { support: { model: "m", baseModel: "b", bootstrap } } })).toThrow(problem);
});

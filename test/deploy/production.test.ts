import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { runCli } from "../../src/cli/program.ts";
import { parseConfig } from "../../src/config.ts";

const root = join(import.meta.dirname, "../..");
const pages = ["README.md", "docs/production.md"].map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
const guide = pages[1]?.text ?? "";

/** Every command line of ours in a block or in running text that names files: none of them exists here, so none of them does anything. */
const commands = pages.flatMap(({ path, text }) =>
  [...text.matchAll(/npx nightshift ((?:[a-z-]+ )+?--[^`#\n]+)/g)]
    .map(([, words = ""]) => words.trim())
    .filter((words) => words.includes("nightshift.yaml") || words.includes("--token-file"))
    .map((words) => ({ path, words })),
);

test("there are commands to look at", () => {
  const named = new Set(commands.map(({ words }) => words.split(" ")[0]));
  const expected = [
    "adapter-agent",
    "bootstrap",
    "collector",
    "doctor",
    "drift",
    "gateway",
    "import",
    "ingest",
    "report",
    "rollback",
    "run",
    "serve",
    "status",
    "tools",
  ];
  expect(named).toEqual(new Set(expected));
});

test.each(commands)("$path: nightshift $words is taken", async ({ words }) => {
  const said: string[] = [];
  const say = (text: string): void => void said.push(text);
  const args = words
    .split(/\s+/)
    .map((word) => (word === "nightshift.yaml" ? "/nowhere/nightshift.yaml" : word.replace(/^.*secrets\//, "/nowhere/")));
  expect(await runCli(args, { env: {}, out: say, err: say, colours: false, signal: new AbortController().signal })).toBe(2);
  expect(said.join("\n")).toMatch(/\/nowhere\/.* cannot be read/);
});

/** A config of the guide, with a hash of its own wherever one is left out. */
function configOf(block: string): ReturnType<typeof parseConfig> {
  let hashes = 0;
  return parseConfig(parse(block.replaceAll("[HASH]", () => JSON.stringify([String(hashes++).padStart(64, "0")]))));
}

const [whole = "", tenants = ""] = [...guide.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, block]) => block ?? "");

test("the config of the guide is valid, and only lacks its hashes", () => {
  const config = configOf(whole);
  expect(Object.keys(config.agents)).toEqual(["support"]);
  expect(config.adapterAgent.publicKeyFile).toBe("secrets/adapter-signing.pub.pem");
});

test("so is what it says of several tenants", () => {
  const config = configOf(tenants);
  expect(Object.values(config.agents).map(({ tenant, match }) => [tenant, match.serviceName])).toEqual([
    ["acme", "support"],
    ["globex", "support"],
  ]);
  expect(config.tenants["globex"]?.apiTokens.viewer).toHaveLength(1);
});

import { Ajv } from "ajv";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { runCli } from "../../src/cli/program.ts";
import { FOLLOWED, LEFT_OUT, readGuide } from "../real/story/guide.ts";
import { chart, examples, readChart, renderedOf } from "./objects.ts";

const path = join(chart, "../docs/kubernetes.md");
const guide = readFileSync(path, "utf8");
const blocks = (language: string): string[] =>
  [...guide.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, "g"))].map(([, block]) => block ?? "");

const scratch = mkdtempSync(join(tmpdir(), "nightshift-guide-"));
afterAll(() => rmSync(scratch, { recursive: true }));

describe("docs/kubernetes.md", () => {
  test("its values are values of the chart, once their hashes and digests are filled in", () => {
    const [values = ""] = blocks("yaml");
    let hashes = 0;
    const filled = values
      .replaceAll("[HASH]", () => JSON.stringify([String(hashes++).padStart(64, "0")]))
      .replaceAll(/DIGEST-OF-[A-Z-]+/g, "1".repeat(64));
    const tree = parse(filled) as Record<string, unknown>;
    const schema = JSON.parse(readChart("values.schema.json")) as { properties: Record<string, object>; required?: string[] };
    // Each block of the guide stands over the chart's own, which has what it leaves out.
    const ajv = new Ajv({ strict: false, validateFormats: false });
    const defaults = parse(readChart("values.yaml")) as Record<string, object>;
    for (const [key, value] of Object.entries(tree)) {
      const over = key === "config" ? value : merged(defaults[key], value);
      expect({ key, valid: ajv.compile(schema.properties[key] ?? false)(over), errors: ajv.errors }).toMatchObject({ key, valid: true });
    }
  });

  const commands = [...guide.matchAll(/npx nightshift ((?:[a-z.-]+ )+?--[^`#\n]+)/g)].map(([, words = ""]) => words.trim());

  test.each(commands.filter((words) => words.includes("--token-file")))("nightshift %s is taken", async (words) => {
    const said: string[] = [];
    const say = (text: string): void => void said.push(text);
    const args = words.split(/\s+/).map((word) => (word === "labels.jsonl" ? labels() : word.replace(/^secrets\//, "/nowhere/")));
    expect(await runCli(args, { env: {}, out: say, err: say, colours: false, signal: new AbortController().signal })).toBe(2);
    expect(said.join("\n")).toMatch(/\/nowhere\/.* cannot be read/);
  });

  test("every block of it is followed by the story on Kubernetes, in its order, or left out by name", () => {
    const ids = readGuide().map(({ id }) => id);
    expect(ids.toSorted()).toEqual([...FOLLOWED, ...Object.keys(LEFT_OUT)].toSorted());
    expect(ids.filter((id) => !(id in LEFT_OUT))).toEqual([...FOLLOWED]);
  });

  test("it calls the command line in a container as the image does", () => {
    const [, entry = ""] = /^ENTRYPOINT \["node", "([^"]+)"\]$/m.exec(readFileSync(join(chart, "../deploy/Dockerfile"), "utf8")) ?? [];
    const called = [...guide.matchAll(/ node (\/\S+\.js) /g), ...readChart("templates/NOTES.txt").matchAll(/ node (\/\S+\.js) /g)];
    expect(called.map(([, file]) => file)).toEqual([entry, entry]);
  });

  test("the files it writes into the Secret are the keys that the chart reads", () => {
    const [secrets = ""] = blocks("sh").filter((block) => block.includes("create secret"));
    const written = new Set([...secrets.matchAll(/secrets\/([a-z0-9.-]+)/g)].map(([, name]) => name ?? ""));
    const [, roles = ""] = /for role in ([a-z ]+);/.exec(secrets) ?? [];
    for (const role of roles.split(" ")) written.add(`${role}-token`);
    written.add("adapter-signing.pub.pem");
    const keys = Object.values((parse(readChart("values.yaml")) as { secrets: Record<string, { key?: string }> }).secrets).flatMap(
      ({ key }) => key ?? [],
    );
    expect(keys.length).toBe(10);
    for (const key of keys) expect([...written]).toContain(key);
  });

  test("what it names in the cluster is there, as release nightshift", () => {
    const named = [...guide.matchAll(/(deployment|service|lease|cronjob)[/ ](nightshift-[a-z-]+)/g)].map(
      ([, kind, name]) => `${kind}/${name}`,
    );
    const rendered = examples
      .flatMap((example) => renderedOf(example))
      .map(({ kind, metadata }) => `${kind.toLowerCase()}/${metadata.name}`);
    expect(named.length).toBeGreaterThan(2);
    // The Lease is made by the control service, under the name that the config says.
    for (const one of named.filter((name) => !name.startsWith("lease/"))) expect(rendered).toContain(one);
  });

  test("every link leads somewhere", () => {
    for (const [, target = ""] of guide.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g))
      expect({ target, exists: existsSync(join(dirname(path), target)) }).toEqual({ target, exists: true });
  });
});

/** What the reader brings, and what is read before the token. */
function labels(): string {
  const file = join(scratch, "labels.jsonl");
  const side = (id: string): object => ({ from: "trajectory", id });
  writeFileSync(file, `${JSON.stringify({ kind: "pair", a: side("t1"), b: side("t2"), preferred: "a" })}\n`);
  return file;
}

function merged(below: unknown, above: unknown): unknown {
  const isTree = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!isTree(below) || !isTree(above)) return above;
  return { ...below, ...Object.fromEntries(Object.entries(above).map(([key, value]) => [key, merged(below[key], value)])) };
}

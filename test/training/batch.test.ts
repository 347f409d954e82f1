import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { fc, test } from "@fast-check/vitest";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { z } from "zod";
import { digestOf } from "../../src/artifact/digest.ts";
import { batchManifestSchema, batchSchemaFiles, groupLineSchema, runFileSchema } from "../../src/training/batch-schema.ts";
import { GROUPS_FILE, encodeGroups, writeBatch, type GroupLine } from "../../src/training/batch.ts";

interface Fixture {
  valid: object;
  cases: { name: string; accept?: boolean; set?: Record<string, unknown>; drop?: string[]; at?: string }[];
}

const root = join(import.meta.dirname, "../..");
const fixture = async (name: string): Promise<Fixture> =>
  JSON.parse(await readFile(join(root, "test/fixtures/batch", `${name}.json`), "utf8")) as Fixture;

const schemas: Record<string, z.ZodType> = { "group-line": groupLineSchema, "batch-manifest": batchManifestSchema, run: runFileSchema };

describe.each(Object.entries(schemas))("%s", async (name, schema) => {
  const { valid, cases } = await fixture(name);

  it.each(cases)("$name", ({ accept, set, drop, at }) => {
    const result = schema.safeParse(changed(valid, set ?? {}, drop ?? []));
    if (accept === true) {
      expect(result.error?.issues ?? []).toEqual([]);
      return;
    }
    // An unknown key is reported at its object, so the path may end above `at`.
    const paths = result.error?.issues.map((issue) => issue.path.join(".")) ?? [];
    expect(paths.filter((path) => `${at}.`.startsWith(path === "" ? "" : `${path}.`))).not.toEqual([]);
  });
});

it.each(batchSchemaFiles())("$path is up to date (npm run generate)", async ({ path, text }) => {
  expect(await readFile(join(root, path), "utf8")).toBe(text);
});

const line = (groupId: string, rewards: readonly number[] = [0, 1]): GroupLine => ({
  group_id: groupId,
  scenario_id: `scenario of ${groupId}`,
  weight: 1,
  members: rewards.map((reward, index) => ({
    rollout_id: `${groupId}/${index}`,
    reward,
    staleness: 0,
    calls: [
      {
        prompt_token_ids: [1, 2, 3],
        completion_token_ids: [4, 5],
        logprobs: [-0.25, -1],
        finish_reason: "stop",
        adapter_digest: "base",
        sampling: { temperature: 1, top_p: 1, top_k: 0, min_p: 0 },
      },
    ],
  })),
});

describe("encodeGroups", () => {
  test.prop([fc.array(fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 4 }), { maxLength: 5 })])(
    "gives back what it was given, in the same bytes each time",
    (rewards) => {
      const groups = rewards.map((each, index) => line(`g${index}`, each));
      const bytes = encodeGroups(groups);
      const lines = gunzipSync(bytes).toString("utf8").split("\n").slice(0, -1);
      expect(lines.map((text) => JSON.parse(text) as unknown)).toEqual(JSON.parse(JSON.stringify(groups)));
      expect(encodeGroups(groups)).toEqual(bytes);
    },
  );

  it("carries neither a time nor an operating system", () => {
    expect([...encodeGroups([line("g")]).subarray(4, 10)]).toEqual([0, 0, 0, 0, 0, 255]);
  });

  it("refuses what the trainer would refuse, by group, line and path", () => {
    expect(() => encodeGroups([line("a"), line("b", [0, Number.NaN])])).toThrow(/group b \(line 2\) .* members\.1\.reward/);
    expect(() => encodeGroups([line("a"), line("a")])).toThrow(/group a \(line 2\) .* appears twice/);
  });
});

describe("writeBatch", () => {
  let run: string;
  beforeEach(async () => {
    run = await mkdtemp(join(tmpdir(), "nightshift-batch-"));
  });
  afterEach(async () => rm(run, { recursive: true, force: true }));

  it("leaves the groups and a manifest that vouches for them, and nothing aside", async () => {
    const manifest = await writeBatch(run, 3, [line("a"), line("b", [0, 0.5, 1])]);
    const bytes = await readFile(join(run, "batch-3", GROUPS_FILE));
    expect(manifest).toEqual({
      version: 1,
      iteration: 3,
      groups: 2,
      members: 5,
      files: { [GROUPS_FILE]: { sha256: digestOf(bytes), bytes: bytes.byteLength } },
    });
    expect(JSON.parse(await readFile(join(run, "batch-3", "manifest.json"), "utf8"))).toEqual(manifest);
    expect(await readdir(run)).toEqual(["batch-3"]);
    expect((await readdir(join(run, "batch-3"))).toSorted()).toEqual([GROUPS_FILE, "manifest.json"]);
  });

  it("may be called again with the same groups, not with others", async () => {
    const first = await writeBatch(run, 1, [line("a")]);
    expect(await writeBatch(run, 1, [line("a")])).toEqual(first);
    await expect(writeBatch(run, 1, [line("b")])).rejects.toMatchObject({ code: "batch_exists" });
  });

  it("replaces what a crash left without a manifest", async () => {
    await mkdir(join(run, "batch-1"));
    await writeFile(join(run, "batch-1", GROUPS_FILE), "half a fi");
    const manifest = await writeBatch(run, 1, [line("a")]);
    expect(digestOf(await readFile(join(run, "batch-1", GROUPS_FILE)))).toBe(manifest.files[GROUPS_FILE]?.sha256);
  });
});

function changed(valid: object, set: Record<string, unknown>, drop: readonly string[]): object {
  const result = structuredClone(valid);
  const place = (path: string): [Record<string, unknown>, string] => {
    const keys = path.split(".");
    const last = keys.pop() ?? "";
    return [keys.reduce((node, key) => node[key] as Record<string, unknown>, result as Record<string, unknown>), last];
  };
  for (const [path, value] of Object.entries(set)) {
    const [parent, key] = place(path);
    parent[key] = value;
  }
  for (const path of drop) {
    const [parent, key] = place(path);
    delete parent[key];
  }
  return result;
}

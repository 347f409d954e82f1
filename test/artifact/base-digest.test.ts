import { mkdtempSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { baseDigest } from "../../src/artifact/base-digest.ts";

/** A time in whole seconds, which is put back exactly. */
const WRITTEN_S = 1_700_000_000;
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "nightshift-base-"));
});
afterEach(() => rm(root, { recursive: true }));

describe("baseDigest", () => {
  const cacheFile = () => join(root, "cache.json");
  /** By this clock files that were just written are at rest. */
  const nowMs = () => Date.now() + 10_000;
  async function model(): Promise<string> {
    const dir = join(root, "model");
    await mkdir(dir);
    for (const file of ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"]) {
      await writeFile(join(dir, file), file);
      await utimes(join(dir, file), WRITTEN_S, WRITTEN_S);
    }
    return dir;
  }

  test("changes with weights, tokenizer and template, not with a README; the cache gives the same", async () => {
    const dir = await model();
    const first = await baseDigest(dir, { cacheFile: cacheFile(), nowMs });
    await writeFile(join(dir, "README.md"), "x");
    expect(await baseDigest(dir, { cacheFile: cacheFile(), nowMs })).toBe(first);
    expect(await baseDigest(dir)).toBe(first);
    await writeFile(join(dir, "chat_template.jinja"), "another template");
    expect(await baseDigest(dir, { cacheFile: cacheFile(), nowMs })).not.toBe(first);
    await rm(join(dir, "model.safetensors"));
    await expect(baseDigest(dir)).rejects.toMatchObject({ code: "artifact_corrupt" });
  });

  test("takes a file that has not changed at the cache's word", async () => {
    const dir = await model();
    const first = await baseDigest(dir, { cacheFile: cacheFile(), nowMs });
    const known = JSON.parse(await readFile(cacheFile(), "utf8")) as Record<string, { sha256: string }>;
    expect(Object.keys(known).toSorted()).toEqual((await readdir(dir)).toSorted().map((file) => join(dir, file)));
    const weights = known[join(dir, "model.safetensors")];
    if (weights === undefined) throw new Error("the weights are known");
    weights.sha256 = `sha256:${"0".repeat(64)}`;
    await writeFile(cacheFile(), JSON.stringify(known));
    expect(await baseDigest(dir, { cacheFile: cacheFile(), nowMs })).not.toBe(first);
    await writeFile(cacheFile(), "{ torn");
    expect(await baseDigest(dir, { cacheFile: cacheFile(), nowMs })).toBe(first);
  });

  test.each([
    {
      what: "overwritten in place, of the same size, its times put back",
      change: async (file: string): Promise<void> => {
        const { ctimeNs } = await stat(file, { bigint: true });
        // Until the file system's clock has ticked: the clock of these tests is ahead of it.
        while ((await stat(file, { bigint: true })).ctimeNs === ctimeNs) {
          await writeFile(file, "MODEL.SAFETENSORS");
          await utimes(file, WRITTEN_S, WRITTEN_S);
        }
      },
    },
    {
      what: "replaced by another of the same size and time",
      change: async (file: string): Promise<void> => {
        await writeFile(`${file}.part`, "MODEL.SAFETENSORS");
        await utimes(`${file}.part`, WRITTEN_S, WRITTEN_S);
        await rename(`${file}.part`, file);
      },
    },
  ])("never trusts a file that was $what", async ({ change }) => {
    const dir = await model();
    const first = await baseDigest(dir, { cacheFile: cacheFile(), nowMs });
    await change(join(dir, "model.safetensors"));
    const changed = await baseDigest(dir, { cacheFile: cacheFile(), nowMs });
    expect(changed).toBe(await baseDigest(dir));
    expect(changed).not.toBe(first);
  });

  test("does not keep what may still change under the same stamp", async () => {
    const dir = await model();
    const stamps = await Promise.all((await readdir(dir)).map(async (file) => (await stat(join(dir, file))).ctimeMs));
    await baseDigest(dir, { cacheFile: cacheFile(), nowMs: () => Math.max(...stamps) + 1_000 });
    await expect(stat(cacheFile())).rejects.toMatchObject({ code: "ENOENT" });
  });
});

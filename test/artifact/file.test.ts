import { mkdtempSync, readdirSync } from "node:fs";
import { mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import type { ArtifactStore } from "../../src/artifact/artifact-store.ts";
import { createFileArtifactStore } from "../../src/artifact/file.ts";
import { describeArtifactStore } from "../conformance/artifact-store.ts";

const root = mkdtempSync(join(tmpdir(), "nightshift-artifacts-"));
let count = 0;
const freshDir = () => join(root, String((count += 1)));
afterAll(() => rm(root, { recursive: true }));

describeArtifactStore("file", async () => {
  const dir = freshDir();
  const objectPath = (digest: string) => join(dir, "objects", digest.slice(7, 9), digest.slice(7));
  const flip = async (path: string) => {
    const content = await readFile(path);
    content[0] = (content[0] ?? 0) ^ 1;
    await writeFile(path, content);
  };
  return {
    store: createFileArtifactStore({ dir }),
    corruptObject: (digest) => flip(objectPath(digest)),
    corruptFile: (name, file) => flip(join(dir, "named", name, file)),
  };
});

describe("file store after a crash", () => {
  let dir: string;
  let store: ArtifactStore;
  beforeEach(() => {
    dir = freshDir();
    store = createFileArtifactStore({ dir });
  });

  test("a directory whose list of files was never written is not published, and cannot be mistaken for one", async () => {
    await mkdir(join(dir, "named", "torn"), { recursive: true });
    await writeFile(join(dir, "named", "torn", "a"), "half");
    expect(await store.checkout("torn")).toBeNull();
    await expect(store.publish("torn", new Map([["a", new Uint8Array(1)]]))).rejects.toMatchObject({ code: "artifact_exists" });
  });

  test.each(["cut short", "missing", "extra"])("a published file that is %s is corrupt", async (damage) => {
    await store.publish("n", new Map([["a", new Uint8Array(100)]]));
    const path = join(dir, "named", "n", "a");
    if (damage === "cut short") await truncate(path, 50);
    if (damage === "missing") await rm(path);
    if (damage === "extra") await writeFile(`${path}2`, "");
    await expect(store.checkout("n")).rejects.toMatchObject({ code: "artifact_corrupt" });
  });

  test("an object that was cut short heals when it is put again", async () => {
    const content = new Uint8Array(100).fill(3);
    const { digest } = await store.put(content);
    await truncate(join(dir, "objects", digest.slice(7, 9), digest.slice(7)), 10);
    await expect(store.get(digest)).rejects.toMatchObject({ code: "artifact_corrupt" });
    expect((await store.put(content)).status).toBe("created");
    expect(await store.get(digest)).toEqual(Buffer.from(content));
  });

  test("nothing is left aside after success, repetition and refusal", async () => {
    await store.put(new Uint8Array(1));
    await store.publish("n", new Map([["a", new Uint8Array(1)]]));
    await store.publish("n", new Map([["a", new Uint8Array(1)]]));
    await store.publish("n", new Map([["a", new Uint8Array(2)]])).catch(() => {});
    expect(readdirSync(join(dir, "staging"))).toEqual([]);
  });
});

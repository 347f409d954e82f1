import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fc, test as propertyTest } from "@fast-check/vitest";
import { beforeEach, describe, expect, test } from "vitest";
import type { ArtifactStore, Digest } from "../../src/artifact/artifact-store.ts";
import { digestOf } from "../../src/artifact/digest.ts";

/** What a test may do to a store behind its back. */
export interface ArtifactStoreHarness {
  store: ArtifactStore;
  /** Changes stored bytes of an object in place, keeping their length. */
  corruptObject(digest: Digest): Promise<void>;
  /** Changes one file of a published name in place, keeping its length. */
  corruptFile(name: string, file: string): Promise<void>;
}

const bytes = (text: string) => new TextEncoder().encode(text);
const NAMES = [
  "",
  "/",
  "..",
  "a/../b",
  "../../etc/passwd",
  "/etc/passwd",
  "a//b",
  "A",
  ".hidden",
  "a/.b",
  "a~b",
  "a\0b",
  "a b",
  "x".repeat(300),
];

/** What every ArtifactStore driver must do. `open` gives a fresh store per test. */
export function describeArtifactStore(driver: string, open: () => Promise<ArtifactStoreHarness>): void {
  describe(`artifact store: ${driver}`, () => {
    let harness: ArtifactStoreHarness;
    let store: ArtifactStore;
    beforeEach(async () => {
      harness = await open();
      ({ store } = harness);
    });

    propertyTest.prop([fc.uint8Array({ maxLength: 5_000 })], { numRuns: 25 })("any bytes come back under their sha256", async (content) => {
      const { digest } = await store.put(content);
      expect(digest).toBe(digestOf(content));
      expect(Buffer.compare((await store.get(digest)) ?? bytes("none"), content)).toBe(0);
    });

    test("the same bytes twice, also at once, are one object", async () => {
      const [first, second] = await Promise.all([store.put(bytes("x")), store.put(bytes("x"))]);
      expect(second.digest).toBe(first.digest);
      expect(await store.put(bytes("x"))).toEqual({ status: "exists", digest: first.digest });
      await store.delete(first.digest);
      expect(await store.get(first.digest)).toBeNull();
    });

    test("what is not there is null, deleting it succeeds", async () => {
      const digest = digestOf("never stored");
      expect(await store.get(digest)).toBeNull();
      await store.delete(digest);
      expect(await store.checkout("never/published")).toBeNull();
    });

    test("bytes that do not match their digest are never handed out", async () => {
      const { digest } = await store.put(bytes("honest"));
      await harness.corruptObject(digest);
      await expect(store.get(digest)).rejects.toMatchObject({ code: "artifact_corrupt" });
    });

    test("a published directory checks out with its files", async () => {
      const files = new Map([
        ["a.json", bytes("{}")],
        ["sub/b.bin", bytes("b")],
        ["manifest.json", bytes("own")],
      ]);
      const published = await store.publish("runs/1/batch-0", files);
      const found = await store.checkout("runs/1/batch-0");
      expect(published.status).toBe("created");
      expect(found?.digest).toBe(published.digest);
      for (const [file, content] of files) expect(new Uint8Array(await readFile(join(found?.directory ?? "", file)))).toEqual(content);
    });

    test("publishing twice: equal content exists, other content is refused and changes nothing", async () => {
      const files = new Map([["a", bytes("1")]]);
      const { digest } = await store.publish("n", files);
      expect(await store.publish("n", new Map(files))).toEqual({ status: "exists", digest });
      await expect(store.publish("n", new Map([["a", bytes("2")]]))).rejects.toMatchObject({ code: "artifact_exists" });
      expect((await store.checkout("n"))?.digest).toBe(digest);
    });

    test("of publishers at once exactly one wins", async () => {
      const contents = ["1", "2", "3", "4"];
      const results = await Promise.allSettled(contents.map((text) => store.publish("race", new Map([["a", bytes(text)]]))));
      const won = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
      expect(won).toHaveLength(1);
      expect((await store.checkout("race"))?.digest).toBe(won[0]?.digest);
    });

    test("a name may begin with another name", async () => {
      await store.publish("a/b", new Map([["f", bytes("inner")]]));
      await store.publish("a", new Map([["f", bytes("outer")]]));
      expect(await store.checkout("a")).not.toBeNull();
      expect(await store.checkout("a/b")).not.toBeNull();
    });

    test("a published file that was changed is never handed out", async () => {
      await store.publish("n", new Map([["a", bytes("honest")]]));
      await harness.corruptFile("n", "a");
      await expect(store.checkout("n")).rejects.toMatchObject({ code: "artifact_corrupt" });
    });

    test.each(NAMES)("name %j is refused everywhere", async (name) => {
      const refused = { code: "artifact_name_invalid" };
      await expect(store.publish(name, new Map([["a", bytes("")]]))).rejects.toMatchObject(refused);
      await expect(store.checkout(name)).rejects.toMatchObject(refused);
      if (name !== "A" && name.length < 100)
        await expect(store.publish("fine", new Map([[name, bytes("")]]))).rejects.toMatchObject(refused);
      await expect(store.get(`sha256:${name}`)).rejects.toMatchObject(refused);
      await expect(store.delete(`sha256:${name}`)).rejects.toMatchObject(refused);
    });

    test("an aborted call stores nothing", async () => {
      const signal = AbortSignal.abort();
      await expect(store.put(bytes("late"), { signal })).rejects.toThrow("aborted");
      await expect(store.publish("late", new Map([["a", bytes("late")]]), { signal })).rejects.toThrow("aborted");
      expect(await store.get(digestOf("late"))).toBeNull();
      expect(await store.checkout("late")).toBeNull();
    });
  });
}

import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { requireSameRedactionKey } from "../../src/trace/redaction-key-check.ts";
import { ensureRedactionKey, readRedactionKey, redactionKeyId } from "../../src/trace/redaction-key.ts";
import { memoryDatabase } from "../store/memory-database.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "redaction-key-"))));
afterEach(() => rmSync(dir, { recursive: true }));

test("made once, kept, for its owner only", () => {
  const file = join(dir, "keys", "default.redaction");
  const key = ensureRedactionKey(file);
  expect(key).toHaveLength(32);
  expect(Buffer.from(ensureRedactionKey(file)).equals(key)).toBe(true);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(dir, "keys"))).toEqual(["default.redaction"]);
});

test("a missing or short key is refused", () => {
  const file = join(dir, "key");
  expect(() => readRedactionKey(file)).toThrow(expect.objectContaining({ code: "redaction_key_invalid" }));
  writeFileSync(file, "too short");
  expect(() => readRedactionKey(file)).toThrow(expect.objectContaining({ code: "redaction_key_invalid" }));
});

test("a key's name tells nothing of it, and two keys have two", () => {
  const [one, other] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  expect(redactionKeyId(one)).toMatch(/^[0-9a-f]{16}$/);
  expect(redactionKeyId(one)).not.toBe(redactionKeyId(other));
});

test("the first key that a tenant's data was stored with is the only one that may follow", async () => {
  const database = await memoryDatabase();
  const key = new Uint8Array(32).fill(1);
  await requireSameRedactionKey(database.kysely, "default", key);
  await requireSameRedactionKey(database.kysely, "default", key);
  await requireSameRedactionKey(database.kysely, "other", new Uint8Array(32).fill(2));
  await expect(requireSameRedactionKey(database.kysely, "default", new Uint8Array(32).fill(2))).rejects.toMatchObject({
    code: "redaction_key_differs",
    message: expect.stringContaining(redactionKeyId(key)) as string,
  });
  await database.close();
});

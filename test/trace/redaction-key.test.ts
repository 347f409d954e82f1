import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ensureRedactionKey, readRedactionKey } from "../../src/trace/redaction-key.ts";

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

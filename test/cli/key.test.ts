import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { keyId, loadPublicKeys, readSigningKey } from "../../src/artifact/signing-key.ts";
import { cli } from "./terminal.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "nightshift-key-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test("a pair whose halves belong together, the private one for its owner alone, and never over another", async () => {
  const file = join(dir, "adapter-signing.pem");
  const made = await cli(["key", "--file", file, "--json"]);
  expect(made.code).toBe(0);
  const publicFile = join(dir, "adapter-signing.pub.pem");
  expect(JSON.parse(made.out)).toMatchObject({ privateFile: file, publicFile });
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const key = readSigningKey(file);
  const [publicKey] = loadPublicKeys(publicFile);
  expect(publicKey?.equals(key.publicKey)).toBe(true);
  expect((JSON.parse(made.out) as { id: string }).id).toBe(keyId(key.publicKey));
  expect(createPublicKey(createPrivateKey(await readFile(file, "utf8"))).asymmetricKeyType).toBe("ed25519");

  const before = await readFile(file, "utf8");
  const again = await cli(["key", "--file", file]);
  expect(again).toMatchObject({ code: 2, err: expect.stringContaining("adapter-signing.pem exists already") });
  expect(await readFile(file, "utf8")).toBe(before);
});

test("a named key that is not there, or of another kind, is refused, and none is made in its place", async () => {
  const missing = join(dir, "missing.pem");
  expect(() => readSigningKey(missing)).toThrow("there is no such file");
  await expect(stat(missing)).rejects.toThrow("ENOENT");
  const rsa = join(dir, "rsa.pem");
  await writeFile(rsa, generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" }));
  expect(() => readSigningKey(rsa)).toThrow("not an ed25519 key");
});

test("a base model's digest says what its files are, and nothing of where they lie", async () => {
  const here = join(dir, "base-a");
  const there = join(dir, "base-b");
  for (const each of [here, there]) {
    await mkdir(each);
    await writeFile(join(each, "config.json"), "{}");
    await writeFile(join(each, "model.safetensors"), "weights");
  }
  const first = await cli(["base", here]);
  expect(first).toMatchObject({ code: 0, out: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) });
  expect((await cli(["base", there])).out).toBe(first.out);
  await writeFile(join(there, "model.safetensors"), "other weights");
  expect((await cli(["base", there])).out).not.toBe(first.out);
  expect(await cli(["base", join(dir, "nowhere")])).toMatchObject({ code: 2, err: expect.stringContaining("cannot be read") });
});

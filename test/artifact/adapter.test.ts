import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, statSync } from "node:fs";
import { appendFile, mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { adapterDigest, type AdapterManifest, adapterName, signManifest, verifyManifest } from "../../src/artifact/adapter.ts";
import { digestOf } from "../../src/artifact/digest.ts";
import { loadPublicKeys, loadSigningKey } from "../../src/artifact/signing-key.ts";
import { verifyAdapterDirectory } from "../../src/artifact/verify-adapter.ts";

const root = mkdtempSync(join(tmpdir(), "nightshift-adapter-"));
afterAll(() => rm(root, { recursive: true }));
const key = loadSigningKey(join(root, "keys"));
const BASE = digestOf("base");

function safetensors(tensors: Record<string, number[]>, dataBytes?: number): Buffer {
  let end = 0;
  const header: Record<string, object> = { __metadata__: { format: "pt" } };
  for (const [name, shape] of Object.entries(tensors)) {
    const start = end;
    end += shape.reduce((product, size) => product * size, 4);
    header[name] = { dtype: "F32", shape, data_offsets: [start, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes ?? end)]);
}

const WEIGHTS = safetensors({ "base_model.model.q_proj.lora_A.weight": [4, 32], "base_model.model.q_proj.lora_B.weight": [32, 4] });
const CONFIG = Buffer.from(JSON.stringify({ peft_type: "LORA", r: 4, lora_alpha: 8 }));

function manifestOf(files: Record<string, Buffer>): AdapterManifest {
  return {
    format: "nightshift-adapter/1",
    tenant: "default",
    agent: "shop",
    number: 3,
    baseDigest: BASE,
    rank: 4,
    runId: "run",
    iteration: 1,
    parentDigest: null,
    lineageDigest: digestOf("lineage"),
    createdAtMs: 1_795_000_000_000,
    files: Object.entries(files).map(([path, content]) => ({ path, bytes: content.length, digest: digestOf(content) })),
  };
}

describe("manifest", () => {
  const manifest = manifestOf({ b: Buffer.from("b"), a: Buffer.from("a") });

  test("digest and name do not depend on the order of keys and files", () => {
    const shuffled = Object.fromEntries(Object.entries(manifest).toReversed()) as AdapterManifest;
    shuffled.files = manifest.files.toReversed();
    expect(adapterDigest(shuffled)).toBe(adapterDigest(manifest));
    expect(adapterName(manifest)).toBe(`shop-3-${adapterDigest(manifest).slice(7, 19)}`);
  });

  test("a signature holds for its manifest and its key only", () => {
    const signature = signManifest(manifest, key);
    const other = generateKeyPairSync("ed25519");
    expect(verifyManifest(manifest, signature, [other.publicKey, key.publicKey])).toBe(true);
    expect(verifyManifest({ ...manifest, iteration: 2 }, signature, [key.publicKey])).toBe(false);
    expect(verifyManifest(manifest, signature, [other.publicKey])).toBe(false);
    expect(verifyManifest(manifest, { ...signManifest(manifest, other), keyId: signature.keyId }, [key.publicKey])).toBe(false);
    expect(verifyManifest(manifest, { ...signature, signature: "" }, [key.publicKey])).toBe(false);
  });

  test("the key is made once, readable by its owner only, and refused when it is not ed25519", async () => {
    const again = loadSigningKey(join(root, "keys"));
    expect(again.publicKey.equals(key.publicKey)).toBe(true);
    expect(statSync(join(root, "keys", "adapter-signing.pem")).mode & 0o777).toBe(0o600);
    expect(loadPublicKeys(join(root, "keys", "adapter-signing.pub.pem"))[0]?.equals(key.publicKey)).toBe(true);
    const missing = /^the public key .*nowhere\.pem that adapters are checked with cannot be used: there is no such file$/;
    expect(() => loadPublicKeys(join(root, "nowhere.pem"))).toThrow(missing);
    await mkdir(join(root, "rsa"));
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" });
    await writeFile(join(root, "rsa", "adapter-signing.pem"), rsa);
    expect(() => loadSigningKey(join(root, "rsa"))).toThrow("cannot be used");
  });
});

describe("verifyAdapterDirectory", () => {
  let dir: string;
  let count = 0;
  const expected = { publicKeys: [key.publicKey], baseDigest: BASE, maxRank: 16 };
  const files = { "adapter_model.safetensors": WEIGHTS, "adapter_config.json": CONFIG };

  async function write(contents: Record<string, Buffer>, change: Partial<AdapterManifest> = {}): Promise<void> {
    const manifest = { ...manifestOf(contents), ...change };
    for (const [name, content] of Object.entries(contents)) await writeFile(join(dir, name), content);
    await writeFile(join(dir, "signature.json"), JSON.stringify(signManifest(manifest, key)));
    await writeFile(join(dir, "manifest.json"), JSON.stringify(manifest));
  }

  beforeEach(async () => {
    dir = join(root, `adapter-${(count += 1)}`);
    await mkdir(dir);
    await write(files);
  });

  test("an honest adapter is valid", async () => {
    const manifest = manifestOf(files);
    expect(await verifyAdapterDirectory(dir, expected)).toEqual({
      status: "valid",
      manifest,
      digest: adapterDigest(manifest),
      name: adapterName(manifest),
    });
  });

  const weightsOf = (tensors: Record<string, number[]>, bytes?: number) =>
    write({ ...files, "adapter_model.safetensors": safetensors(tensors, bytes) });
  const configOf = (config: object) => write({ ...files, "adapter_config.json": Buffer.from(JSON.stringify(config)) });
  const edit = async (change: (manifest: AdapterManifest) => void) => {
    const manifest = JSON.parse(await readFile(join(dir, "manifest.json"), "utf8")) as AdapterManifest;
    change(manifest);
    await writeFile(join(dir, "manifest.json"), JSON.stringify(manifest));
  };
  const cases: [string, string, () => Promise<unknown>][] = [
    ["no manifest", "truncated", () => rm(join(dir, "manifest.json"))],
    ["half a manifest", "truncated", () => truncate(join(dir, "manifest.json"), 40)],
    ["half the weights", "truncated", () => truncate(join(dir, "adapter_model.safetensors"), 300)],
    [
      "no weights listed",
      "truncated",
      () => rm(join(dir, "adapter_model.safetensors")).then(() => write({ "adapter_config.json": CONFIG })),
    ],
    ["a path that leaves the directory", "truncated", () => edit((m) => (m.files[0] = { ...m.files[0]!, path: "../x" }))],
    ["a file nobody listed", "unlisted_file", () => writeFile(join(dir, "modeling.py"), "")],
    ["longer weights", "digest_mismatch", () => appendFile(join(dir, "adapter_model.safetensors"), "x")],
    ["another config", "digest_mismatch", () => writeFile(join(dir, "adapter_config.json"), CONFIG.toString().replace("8", "9"))],
    ["no signature", "not_signed", () => rm(join(dir, "signature.json"))],
    ["a manifest edited after signing", "not_signed", () => edit((m) => (m.rank = 2))],
    ["another base", "another_base", () => write(files, { baseDigest: digestOf("other") })],
    ["a rank above the server's", "rank_too_large", () => write(files, { rank: 64 })],
    ["a config rank above the manifest's", "rank_too_large", () => configOf({ peft_type: "LORA", r: 8 })],
    ["tensors above the manifest's rank", "rank_too_large", () => weightsOf({ "q.lora_A.weight": [8, 32] })],
    ["another peft type", "not_lora", () => configOf({ peft_type: "IA3", r: 4 })],
    ["a full weight among the matrices", "not_lora", () => weightsOf({ "q_proj.weight": [4, 4] })],
    ["no tensors", "bad_safetensors", () => weightsOf({})],
    ["bytes that no tensor owns", "bad_safetensors", () => weightsOf({ "q.lora_A.weight": [4, 4] }, 100)],
    [
      "no safetensors at all",
      "bad_safetensors",
      () => write({ ...files, "adapter_model.safetensors": Buffer.from("PK\u0003\u0004 not tensors") }),
    ],
  ];
  test.each(cases)("%s: %s", async (_, reason, damage) => {
    await damage();
    expect(await verifyAdapterDirectory(dir, expected)).toMatchObject({ status: "invalid", reason });
  });
});

import type { KeyObject } from "node:crypto";
import { open, readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import {
  adapterDigest,
  type AdapterManifest,
  adapterManifestSchema,
  adapterName,
  MANIFEST_FILE,
  SIGNATURE_FILE,
  signatureSchema,
  verifyManifest,
} from "./adapter.ts";
import type { Digest } from "./artifact-store.ts";
import { digestOfFile } from "./digest.ts";

export type AdapterProblem =
  | "truncated"
  | "unlisted_file"
  | "digest_mismatch"
  | "not_signed"
  | "another_base"
  | "rank_too_large"
  | "not_lora"
  | "bad_safetensors";

export type AdapterCheck =
  | { status: "valid"; manifest: AdapterManifest; digest: Digest; name: string }
  | { status: "invalid"; reason: AdapterProblem; detail: string };

const WEIGHTS_FILE = "adapter_model.safetensors";
const CONFIG_FILE = "adapter_config.json";
const MAX_HEADER_BYTES = 16 * 1024 * 1024;

/**
 * Checks everything that can be checked of an adapter without a model, before any server sees it: signature first, so that nothing unsigned is
 * even read, then sizes, digests, base, rank, LoRA config and the tensor file's header.
 */
export async function verifyAdapterDirectory(
  directory: string,
  expected: { publicKeys: readonly KeyObject[]; baseDigest: Digest; maxRank: number },
): Promise<AdapterCheck> {
  const manifest = adapterManifestSchema.safeParse(await readJson(join(directory, MANIFEST_FILE)));
  if (!manifest.success) return invalid("truncated", `${MANIFEST_FILE} is missing or not an adapter manifest`);
  const signature = signatureSchema.safeParse(await readJson(join(directory, SIGNATURE_FILE)));
  if (!signature.success || !verifyManifest(manifest.data, signature.data, expected.publicKeys)) {
    return invalid("not_signed", `${SIGNATURE_FILE} holds no signature of a known key`);
  }
  const { baseDigest, rank } = manifest.data;
  if (baseDigest !== expected.baseDigest) return invalid("another_base", `made for ${baseDigest}, served is ${expected.baseDigest}`);
  if (rank > expected.maxRank) return invalid("rank_too_large", `rank ${rank}, the server takes ${expected.maxRank}`);
  const problem =
    (await checkFiles(directory, manifest.data)) ?? (await checkConfig(directory, rank)) ?? (await checkTensors(directory, rank));
  if (problem !== null) return problem;
  return { status: "valid", manifest: manifest.data, digest: adapterDigest(manifest.data), name: adapterName(manifest.data) };
}

function invalid(reason: AdapterProblem, detail: string): Extract<AdapterCheck, { status: "invalid" }> {
  return { status: "invalid", reason, detail };
}

type Problem = Extract<AdapterCheck, { status: "invalid" }> | null;

async function checkFiles(directory: string, manifest: AdapterManifest): Promise<Problem> {
  const listed = new Set([...manifest.files.map(({ path }) => path), MANIFEST_FILE, SIGNATURE_FILE]);
  // A leading dot marks the artifact store's own list of files.
  const extra = (await readdir(directory)).find((name) => !listed.has(name) && !name.startsWith("."));
  if (extra !== undefined) return invalid("unlisted_file", extra);
  for (const required of [WEIGHTS_FILE, CONFIG_FILE]) if (!listed.has(required)) return invalid("truncated", `${required} is not listed`);
  for (const { path, bytes, digest } of manifest.files) {
    const found = await stat(join(directory, path)).catch(() => null);
    if (found === null || found.size < bytes) return invalid("truncated", `${path} has ${found?.size ?? 0} of ${bytes} bytes`);
    if ((await digestOfFile(join(directory, path))) !== digest) return invalid("digest_mismatch", path);
  }
  return null;
}

const configSchema = z.looseObject({
  peft_type: z.literal("LORA"),
  r: z.int().positive(),
  rank_pattern: z.record(z.string(), z.int()).optional(),
});

async function checkConfig(directory: string, rank: number): Promise<Problem> {
  const config = configSchema.safeParse(await readJson(join(directory, CONFIG_FILE)));
  if (!config.success) return invalid("not_lora", `${CONFIG_FILE} does not describe a LoRA`);
  const largest = Math.max(config.data.r, ...Object.values(config.data.rank_pattern ?? {}));
  return largest > rank ? invalid("rank_too_large", `${CONFIG_FILE} has rank ${largest}, the manifest ${rank}`) : null;
}

const BYTES_PER_ELEMENT: Readonly<Record<string, number>> = { F64: 8, F32: 4, F16: 2, BF16: 2 };
const headerSchema = z.record(
  z.string(),
  z.object({
    dtype: z.string(),
    shape: z.array(z.int().nonnegative()),
    data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
  }),
);

/** The header must account for every byte: tensors lie end to end, as the safetensors format has it. */
async function checkTensors(directory: string, rank: number): Promise<Problem> {
  const header = await readHeader(join(directory, WEIGHTS_FILE));
  if (header === null) return invalid("bad_safetensors", "its header cannot be read");
  const { dataBytes, tensors } = header;
  let end = 0;
  for (const [name, tensor] of Object.entries(tensors).toSorted(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0])) {
    const length = tensor.shape.reduce((product, size) => product * size, BYTES_PER_ELEMENT[tensor.dtype] ?? Number.NaN);
    if (tensor.data_offsets[0] !== end || tensor.data_offsets[1] !== end + length)
      return invalid("bad_safetensors", `${name} has wrong offsets`);
    end += length;
    if (!/\.lora_(?:A|B|embedding_A|embedding_B)(?:\.|$)/.test(name)) return invalid("not_lora", `${name} is no LoRA matrix`);
    if (Math.min(...tensor.shape) > rank) return invalid("rank_too_large", `${name} is ${tensor.shape.join("×")}`);
  }
  return end === dataBytes && end > 0 ? null : invalid("bad_safetensors", `tensors end at ${end} of ${dataBytes} bytes`);
}

async function readHeader(path: string): Promise<{ dataBytes: number; tensors: z.infer<typeof headerSchema> } | null> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(8), 0, 8, 0);
    const length = bytesRead === 8 ? Number(buffer.readBigUInt64LE()) : Number.POSITIVE_INFINITY;
    if (length > Math.min(MAX_HEADER_BYTES, size - 8)) return null;
    const { buffer: text } = await file.read(Buffer.alloc(length), 0, length, 8);
    const header = parseJson(text.toString("utf8"));
    const { __metadata__, ...tensors } = (header ?? {}) as Record<string, unknown>;
    const parsed = headerSchema.safeParse(tensors);
    return parsed.success ? { dataBytes: size - 8 - length, tensors: parsed.data } : null;
  } finally {
    await file.close();
  }
}

async function readJson(path: string): Promise<unknown> {
  return parseJson(await readFile(path, "utf8").catch(() => ""));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

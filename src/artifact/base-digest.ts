import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import canonicalize from "canonicalize";
import { nightshiftError } from "../errors.ts";
import type { Digest } from "./artifact-store.ts";
import { digestOf, digestOfFile } from "./digest.ts";

/** What decides a base model's answers: config, tokenizer, chat template, weight shards. READMEs and other formats do not. */
const PART =
  /^(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json$|^tokenizer\.model$|^merges\.txt$|^chat_template\.jinja$|\.safetensors(?:\.index\.json)?$/;

/**
 * Identity of a base model: one digest over the digests of its parts. `cacheFile` keeps each part's digest under (path, size, mtime),
 * because hashing the shards of a large model takes minutes. Rejects with Node's error when the directory cannot be read.
 */
export async function baseDigest(modelDir: string, options?: { cacheFile?: string }): Promise<Digest> {
  const known = await readCache(options?.cacheFile);
  const parts: Record<string, Digest> = {};
  const fresh: Record<string, Digest> = {};
  for (const name of (await readdir(modelDir)).filter((file) => PART.test(file)).toSorted()) {
    const path = join(modelDir, name);
    const { size, mtimeMs } = await stat(path);
    const key = `${path}|${size}|${mtimeMs}`;
    const digest = known[key] ?? (await digestOfFile(path));
    parts[name] = digest;
    fresh[key] = digest;
  }
  if (!("config.json" in parts) || !Object.keys(parts).some((name) => name.endsWith(".safetensors"))) {
    throw nightshiftError("artifact_corrupt", { what: modelDir, problem: "no base model: config.json or *.safetensors is missing" });
  }
  if (options?.cacheFile !== undefined) await writeFile(options.cacheFile, JSON.stringify({ ...known, ...fresh }), { mode: 0o600 });
  return digestOf(canonicalize(parts) ?? "");
}

async function readCache(file: string | undefined): Promise<Record<string, Digest>> {
  if (file === undefined) return {};
  try {
    return JSON.parse(await readFile(file, "utf8")) as Record<string, Digest>;
  } catch {
    // A missing or torn cache only costs the hashing.
    return {};
  }
}

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import canonicalize from "canonicalize";
import { nightshiftError } from "../errors.ts";
import type { Digest } from "./artifact-store.ts";
import { digestOf } from "./digest.ts";
import { openFileDigests } from "./file-digests.ts";

/** What decides a base model's answers: config, tokenizer, chat template, weight shards. READMEs and other formats do not. */
const PART =
  /^(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json$|^tokenizer\.model$|^merges\.txt$|^chat_template\.jinja$|\.safetensors(?:\.index\.json)?$/;

/**
 * Identity of a base model: one digest over the digests of its parts. `cacheFile` keeps those of files that do not change (`file-digests.ts`), which is to lie where models do not: their
 * volume may be read-only. Rejects with Node's error when the directory cannot be read.
 */
export async function baseDigest(modelDir: string, options?: { cacheFile?: string; nowMs?: () => number }): Promise<Digest> {
  const digests = await openFileDigests(options?.cacheFile, options?.nowMs);
  const parts: Record<string, Digest> = {};
  for (const name of (await readdir(modelDir)).filter((file) => PART.test(file)).toSorted()) {
    parts[name] = await digests.of(join(modelDir, name));
  }
  if (!("config.json" in parts) || !Object.keys(parts).some((name) => name.endsWith(".safetensors"))) {
    throw nightshiftError("artifact_corrupt", { what: modelDir, problem: "no base model: config.json or *.safetensors is missing" });
  }
  await digests.keep();
  return digestOf(canonicalize(parts) ?? "");
}

import type { BigIntStats } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { z } from "zod";
import type { Digest } from "./artifact-store.ts";
import { digestOfFile, isDigest } from "./digest.ts";
import { replaceSynced } from "./durable-file.ts";

/** What was seen of a file when it was hashed; texts, because JSON has no integers of this size. */
const knownSchema = z.strictObject({
  size: z.string(),
  inode: z.string(),
  mtime_ns: z.string(),
  /** Of the last change, be it of bytes, name or times: unlike mtime nobody can set it back. */
  ctime_ns: z.string(),
  sha256: z.string().refine((text) => isDigest(text)),
});
type Known = z.infer<typeof knownSchema>;
const cacheSchema = z.record(z.string(), knownSchema);

/**
 * File systems stamp changes by clocks that tick; FAT's takes two seconds. What was changed so shortly before it was hashed may be changed once more under the same stamp, so its digest is
 * not kept.
 */
const TICK_MS = 2_000;

/** Digests of files, taken again only of those that changed. */
export interface FileDigests {
  /** Rejects with Node's error when the file cannot be read. */
  of(path: string): Promise<Digest>;
  /** Writes the cache, unless nothing new is known. */
  keep(): Promise<void>;
}

/**
 * A digest counts for as long as the file at its path has the same size, inode, mtime and ctime to the nanosecond: hashing the shards of a large model takes minutes. The trainer's
 * `file_digests.py` follows the same rules.
 * @param cacheFile none: every file is read
 * @param nowMs the wall clock, which stamps of files are compared with
 */
export async function openFileDigests(cacheFile: string | undefined, nowMs: () => number = Date.now): Promise<FileDigests> {
  const before = await readCache(cacheFile);
  const fresh: Record<string, Known> = {};
  return {
    async of(path) {
      const key = resolve(path);
      const seen = seenOf(await stat(path, { bigint: true }));
      const known = before[key];
      if (known !== undefined && isSame(known, seen)) return known.sha256;
      const beganMs = nowMs();
      const sha256 = await digestOfFile(path);
      const isAtRest = Number(BigInt(seen.ctime_ns) / 1_000_000n) + TICK_MS < beganMs;
      if (isAtRest && isSame(seen, seenOf(await stat(path, { bigint: true })))) fresh[key] = { ...seen, sha256 };
      return sha256;
    },
    async keep() {
      if (cacheFile === undefined || Object.keys(fresh).length === 0) return;
      // Another may have written it meanwhile; what two write at once costs the one of them another hashing.
      const merged = { ...(await readCache(cacheFile)), ...fresh };
      await replaceSynced(cacheFile, Buffer.from(`${JSON.stringify(merged)}\n`));
    },
  };
}

function seenOf({ size, ino, mtimeNs, ctimeNs }: BigIntStats): Omit<Known, "sha256"> {
  return { size: `${size}`, inode: `${ino}`, mtime_ns: `${mtimeNs}`, ctime_ns: `${ctimeNs}` };
}

function isSame(one: Omit<Known, "sha256">, other: Omit<Known, "sha256">): boolean {
  return (["size", "inode", "mtime_ns", "ctime_ns"] as const).every((field) => one[field] === other[field]);
}

async function readCache(file: string | undefined): Promise<Record<string, Known>> {
  if (file === undefined) return {};
  try {
    return cacheSchema.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    // A missing or torn cache, or one of an older version, only costs the hashing.
    return {};
  }
}

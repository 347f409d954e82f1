import { randomUUID } from "node:crypto";
import { readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import type { Digest } from "../artifact/artifact-store.ts";
import { digestOf, isDigest } from "../artifact/digest.ts";
import { makeDirectory, renameSynced, syncDirectory, writeSynced, writingAside } from "../artifact/durable-file.ts";

/** Written last: without it the directory does not exist for its reader. The trainer's `handover.py` is the other side. */
export const MANIFEST_FILE = "manifest.json";

/** Directory of the adapter that a night starts from, below its run directory. */
export const START_ADAPTER = "start-adapter";

const manifestSchema = z.looseObject({
  files: z.record(
    z.string().regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$/),
    z.looseObject({ sha256: z.string().refine((text) => isDigest(text)), bytes: z.int().min(0) }),
  ),
});

/** A directory that was handed over: its manifest as it was written, and what that lists. */
export interface HandOver {
  manifest: Uint8Array;
  files: ReadonlyMap<string, { digest: Digest; bytes: number }>;
}

/** Null for bytes that are no manifest. */
export function parseHandOver(manifest: Uint8Array): HandOver | null {
  const parsed = manifestSchema.safeParse(parseJson(manifest));
  if (!parsed.success) return null;
  const entries = Object.entries(parsed.data.files);
  return { manifest, files: new Map(entries.map(([file, { sha256, bytes }]) => [file, { digest: sha256, bytes }])) };
}

/** The manifest of a directory; null while there is none, or while it is half there. The files are not looked at. */
export async function readHandOver(directory: string): Promise<HandOver | null> {
  const bytes = await readFile(join(directory, MANIFEST_FILE)).catch(ignoreMissing);
  return bytes === undefined ? null : parseHandOver(bytes);
}

/** The manifest of files with nothing else to say about them. */
export function plainManifest(files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const table = [...files].map(([name, bytes]) => [name, { sha256: digestOf(bytes), bytes: bytes.byteLength }] as const);
  return new TextEncoder().encode(`${JSON.stringify({ version: 1, files: Object.fromEntries(table) })}\n`);
}

/**
 * Makes a directory of files aside, renames it into place and writes its manifest last. What a crash left without a manifest is replaced; the caller has seen
 * that there is no whole one. Durable when it resolves.
 */
export async function handOver(directory: string, files: ReadonlyMap<string, Uint8Array>, manifest: Uint8Array): Promise<void> {
  const parent = dirname(directory);
  const aside = join(parent, `.${basename(directory)}-${randomUUID()}`);
  await writingAside(aside, `the directory ${basename(directory)}`, async () => {
    await makeDirectory(aside);
    for (const [file, bytes] of files) await writeSynced(join(aside, file), bytes);
    await syncDirectory(aside);
    await rm(directory, { recursive: true, force: true });
    await rename(aside, directory);
    await syncDirectory(parent);
    const marker = join(directory, `.${MANIFEST_FILE}`);
    await rm(marker, { force: true });
    await writeSynced(marker, manifest);
    await renameSynced(marker, join(directory, MANIFEST_FILE));
  });
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8")) as unknown;
  } catch {
    return null;
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

import { lstat, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import canonicalize from "canonicalize";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import type { Digest } from "./artifact-store.ts";
import { digestOf, digestOfFile, isDigest } from "./digest.ts";
import { makeDirectory, syncDirectory, writeSynced, writingAside } from "./durable-file.ts";

const NAME = /^[a-z0-9_-][a-z0-9._-]{0,99}(?:\/[a-z0-9_-][a-z0-9._-]{0,99}){0,7}$/;
const FILE = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}){0,7}$/;
const MAX_FILES = 1_000;

/** Lists a published directory's files; its presence is what makes the directory published. No file name may start with a dot, so none can pose as it. */
const MARKER = ".published.json";
// File names are checked when a marker is read too: one that came from elsewhere must not write outside its directory.
const markerSchema = z
  .strictObject({
    files: z.record(z.string().regex(FILE), z.strictObject({ bytes: z.int().min(0), digest: z.string().refine((text) => isDigest(text)) })),
  })
  .refine(({ files }) => Object.keys(files).length <= MAX_FILES, { error: `more than ${MAX_FILES} files` });
export type Marker = z.infer<typeof markerSchema>;

/** @throws NightshiftError `artifact_name_invalid` */
export function requireDigest(digest: string): void {
  if (!isDigest(digest)) throw nightshiftError("artifact_name_invalid", { name: digest.slice(0, 100) });
}

/** @throws NightshiftError `artifact_name_invalid` for the name of a directory or of one of its files */
export function requireName(name: string, files: Iterable<string>): void {
  if (!NAME.test(name)) throw nightshiftError("artifact_name_invalid", { name: name.slice(0, 100) });
  for (const file of files)
    if (!FILE.test(file)) throw nightshiftError("artifact_name_invalid", { name: `${name}: ${file.slice(0, 100)}` });
}

/** One flat level: a name may then be the beginning of another one. */
export function flatName(name: string): string {
  return name.replaceAll("/", "~");
}

export function markerOf(files: ReadonlyMap<string, Uint8Array>): Marker {
  return { files: Object.fromEntries([...files].map(([file, bytes]) => [file, { bytes: bytes.byteLength, digest: digestOf(bytes) }])) };
}

/** Identity of a published directory: equal content, equal digest. */
export function markerDigest(marker: Marker): Digest {
  return digestOf(canonicalize(marker) ?? "");
}

export function encodeMarker(marker: Marker): string {
  return JSON.stringify(marker);
}

/** @throws NightshiftError `artifact_corrupt` */
export function parseMarker(name: string, text: string): Marker {
  try {
    return markerSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw nightshiftError("artifact_corrupt", { what: name, problem: "its list of files cannot be read" }, { cause });
  }
}

/** The list of files of a published directory; null where there is none. @throws NightshiftError `artifact_corrupt` */
export async function readPublished(name: string, directory: string): Promise<Marker | null> {
  const text = await readFile(join(directory, MARKER), "utf8").catch(ignoreMissing);
  return text === undefined ? null : parseMarker(name, text);
}

/**
 * Writes files and their list aside, then gives the directory its name: all of it becomes visible at once, or nothing. `files` may come from afar, one after
 * the other. False when the name is taken: the file system decides between two writers, so there is no race.
 */
export async function writePublished(
  name: string,
  { path, aside }: { path: string; aside: string },
  marker: Marker,
  files: Iterable<readonly [string, Uint8Array]> | AsyncIterable<readonly [string, Uint8Array]>,
): Promise<boolean> {
  return writingAside(aside, `artifact ${name}`, async () => {
    await makeDirectory(aside);
    const directories = new Set([aside]);
    for await (const [file, bytes] of files) {
      const target = join(aside, file);
      await makeDirectory(dirname(target));
      await writeSynced(target, bytes);
      directories.add(dirname(target));
    }
    await writeSynced(join(aside, MARKER), Buffer.from(encodeMarker(marker)));
    for (const directory of directories) await syncDirectory(directory);
    await makeDirectory(dirname(path));
    if (await renameOnto(aside, path)) return true;
    await rm(aside, { recursive: true, force: true });
    return false;
  });
}

/** Every file of the list is there with its bytes, and no other. @throws NightshiftError `artifact_corrupt` */
export async function verifyPublished(name: string, directory: string, marker: Marker, signal: AbortSignal | undefined): Promise<void> {
  const corrupt = (problem: string, cause?: unknown) => nightshiftError("artifact_corrupt", { what: name, problem }, { cause });
  const present = (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => !entry.isDirectory());
  if (present.length !== Object.keys(marker.files).length + 1)
    throw corrupt(`it holds ${present.length - 1} files, not ${Object.keys(marker.files).length}`);
  for (const [file, expected] of Object.entries(marker.files)) {
    const found = await lstat(join(directory, file)).catch(ignoreMissing);
    if (found?.isFile() !== true || found.size !== expected.bytes) throw corrupt(`${file} is missing or was cut short`);
    if ((await digestOfFile(join(directory, file), { signal })) !== expected.digest) throw corrupt(`${file} does not match its digest`);
  }
}

/** False when a directory already has that name. */
async function renameOnto(aside: string, path: string): Promise<boolean> {
  try {
    await rename(aside, path);
  } catch (error) {
    if (["ENOTEMPTY", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
  await syncDirectory(dirname(path));
  return true;
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

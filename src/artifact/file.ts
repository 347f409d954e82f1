import { randomUUID } from "node:crypto";
import { lstat, readFile, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import canonicalize from "canonicalize";
import { z } from "zod";
import { nightshiftError } from "../errors.ts";
import type { ArtifactStore, Digest, PutResult } from "./artifact-store.ts";
import { digestOf, digestOfFile, isDigest } from "./digest.ts";
import { makeDirectory, renameSynced, syncDirectory, writeSynced, writingAside } from "./durable-file.ts";

/** Lists a published directory's files; its presence is what makes the directory published. No file name may start with a dot, so none can pose as it. */
const MARKER = ".published.json";
const markerSchema = z.strictObject({ files: z.record(z.string(), z.strictObject({ bytes: z.int(), digest: z.string() })) });
type Marker = z.infer<typeof markerSchema>;

const NAME = /^[a-z0-9_-][a-z0-9._-]{0,99}(?:\/[a-z0-9_-][a-z0-9._-]{0,99}){0,7}$/;
const FILE = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(?:\/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}){0,7}$/;

/**
 * Artifacts below one directory: `objects/ab/<sha256>`, `named/<name>/` and `staging/`, all on one file system so that a rename is atomic.
 * Everything is written aside and synced before it gets its name; everything is verified when it is read.
 */
export function createFileArtifactStore(options: { dir: string }): ArtifactStore {
  const paths = {
    object: (digest: Digest) => join(options.dir, "objects", digest.slice(7, 9), digest.slice(7)),
    // One flat level: a name may then be the beginning of another one.
    named: (name: string) => join(options.dir, "named", name.replaceAll("/", "~")),
    staging: () => join(options.dir, "staging", randomUUID()),
  };
  return {
    put: async (bytes, { signal } = {}) => {
      signal?.throwIfAborted();
      return putObject(paths.object, paths.staging(), bytes);
    },
    get: async (digest, { signal } = {}) => {
      requireDigest(digest);
      const bytes = await readOrNull(paths.object(digest), signal);
      if (bytes !== null && digestOf(bytes) !== digest) {
        throw nightshiftError("artifact_corrupt", { what: digest, problem: `its bytes hash to ${digestOf(bytes)}` });
      }
      return bytes;
    },
    publish: async (name, files, { signal } = {}) => {
      requireName(name, files.keys());
      signal?.throwIfAborted();
      return publishDirectory(name, paths.named(name), paths.staging(), files);
    },
    checkout: async (name, { signal } = {}) => {
      requireName(name, []);
      const directory = paths.named(name);
      const marker = await readMarker(name, directory);
      if (marker === null) return null;
      await verifyFiles(name, directory, marker, signal);
      return { directory, digest: markerDigest(marker) };
    },
    delete: async (digest) => {
      requireDigest(digest);
      const path = paths.object(digest);
      await rm(path, { force: true });
      await syncDirectory(dirname(path)).catch(ignoreMissing);
    },
  };
}

async function putObject(place: (digest: Digest) => string, aside: string, bytes: Uint8Array): Promise<PutResult> {
  const digest = digestOf(bytes);
  const path = place(digest);
  // An object of another size was cut short by a dying disk: writing it again heals it.
  if ((await stat(path).catch(ignoreMissing))?.size === bytes.byteLength) return { status: "exists", digest };
  return writingAside(aside, "an artifact", async () => {
    await makeDirectory(dirname(aside));
    await makeDirectory(dirname(path));
    await writeSynced(aside, bytes);
    await renameSynced(aside, path);
    return { status: "created", digest };
  });
}

async function publishDirectory(name: string, path: string, aside: string, files: ReadonlyMap<string, Uint8Array>): Promise<PutResult> {
  const marker: Marker = {
    files: Object.fromEntries([...files].map(([file, bytes]) => [file, { bytes: bytes.byteLength, digest: digestOf(bytes) }])),
  };
  const digest = markerDigest(marker);
  return writingAside(aside, `artifact ${name}`, async () => {
    await makeDirectory(aside);
    const directories = new Set([aside]);
    for (const [file, bytes] of files) {
      const target = join(aside, file);
      await makeDirectory(dirname(target));
      await writeSynced(target, bytes);
      directories.add(dirname(target));
    }
    await writeSynced(join(aside, MARKER), Buffer.from(JSON.stringify(marker)));
    for (const directory of directories) await syncDirectory(directory);
    await makeDirectory(dirname(path));
    if (await renameOnto(aside, path)) return { status: "created", digest };
    await rm(aside, { recursive: true, force: true });
    const existing = await readMarker(name, path);
    if (existing === null || markerDigest(existing) !== digest) throw nightshiftError("artifact_exists", { name });
    return { status: "exists", digest };
  });
}

/** False when a directory already has that name: the file system decides between two publishers, so there is no race. */
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

async function readMarker(name: string, directory: string): Promise<Marker | null> {
  const bytes = await readOrNull(join(directory, MARKER));
  if (bytes === null) return null;
  try {
    return markerSchema.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
  } catch (cause) {
    throw nightshiftError("artifact_corrupt", { what: name, problem: "its list of files cannot be read" }, { cause });
  }
}

async function verifyFiles(name: string, directory: string, marker: Marker, signal: AbortSignal | undefined): Promise<void> {
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

function markerDigest(marker: Marker): Digest {
  return digestOf(canonicalize(marker) ?? "");
}

async function readOrNull(path: string, signal?: AbortSignal): Promise<Uint8Array | null> {
  const bytes = await readFile(path, signal === undefined ? {} : { signal }).catch(ignoreMissing);
  return bytes ?? null;
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

function requireDigest(digest: string): void {
  if (!isDigest(digest)) throw nightshiftError("artifact_name_invalid", { name: digest.slice(0, 100) });
}

function requireName(name: string, files: Iterable<string>): void {
  if (!NAME.test(name)) throw nightshiftError("artifact_name_invalid", { name: name.slice(0, 100) });
  for (const file of files)
    if (!FILE.test(file)) throw nightshiftError("artifact_name_invalid", { name: `${name}: ${file.slice(0, 100)}` });
}

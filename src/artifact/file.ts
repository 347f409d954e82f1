import { randomUUID } from "node:crypto";
import { readFile, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { nightshiftError } from "../errors.ts";
import type { ArtifactStore, Digest, PutResult } from "./artifact-store.ts";
import { digestOf } from "./digest.ts";
import { makeDirectory, renameSynced, syncDirectory, writeSynced, writingAside } from "./durable-file.ts";
import {
  flatName,
  markerDigest,
  markerOf,
  readPublished,
  requireDigest,
  requireName,
  verifyPublished,
  writePublished,
} from "./published.ts";

/**
 * Artifacts below one directory: `objects/ab/<sha256>`, `named/<name>/` and `staging/`, all on one file system so that a rename is atomic.
 * Everything is written aside and synced before it gets its name; everything is verified when it is read.
 */
export function createFileArtifactStore(options: { dir: string }): ArtifactStore {
  const paths = {
    object: (digest: Digest) => join(options.dir, "objects", digest.slice(7, 9), digest.slice(7)),
    named: (name: string) => join(options.dir, "named", flatName(name)),
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
      return publishDirectory(name, { path: paths.named(name), aside: paths.staging() }, files);
    },
    checkout: async (name, { signal } = {}) => {
      requireName(name, []);
      const directory = paths.named(name);
      const marker = await readPublished(name, directory);
      if (marker === null) return null;
      await verifyPublished(name, directory, marker, signal);
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

async function publishDirectory(
  name: string,
  place: { path: string; aside: string },
  files: ReadonlyMap<string, Uint8Array>,
): Promise<PutResult> {
  const marker = markerOf(files);
  const digest = markerDigest(marker);
  if (await writePublished(name, place, marker, files)) return { status: "created", digest };
  const existing = await readPublished(name, place.path);
  if (existing === null || markerDigest(existing) !== digest) throw nightshiftError("artifact_exists", { name });
  return { status: "exists", digest };
}

async function readOrNull(path: string, signal?: AbortSignal): Promise<Uint8Array | null> {
  const bytes = await readFile(path, signal === undefined ? {} : { signal }).catch(ignoreMissing);
  return bytes ?? null;
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

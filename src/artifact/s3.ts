import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { nightshiftError, NightshiftError } from "../errors.ts";
import type { ArtifactStore } from "./artifact-store.ts";
import { digestOf } from "./digest.ts";
import type { Objects } from "./objects.ts";
import {
  encodeMarker,
  flatName,
  type Marker,
  markerDigest,
  markerOf,
  parseMarker,
  readPublished,
  requireDigest,
  requireName,
  verifyPublished,
  writePublished,
} from "./published.ts";
import { readVerified, storeVerified } from "./verified-object.ts";

type Signal = AbortSignal | undefined;

const sealedSchema = z.strictObject({ digest: z.string(), list: z.string() });

/** A list of a thousand files with long names. */
const MAX_MARKER_BYTES = 2 ** 20;
const UPLOADS_AT_ONCE = 4;

/**
 * Artifacts in a bucket: `objects/ab/<sha256>`; `named/<name>.json`, the list of a published directory's files, created last and only if nobody else did; and
 * `files/ab/<sha256>`, what those lists name, apart from `objects/` because erasing an object must not touch a published file of the same bytes.
 *
 * Nothing that the store answers is believed: what does not hash to the digest that it was asked for is `artifact_corrupt` and leaves nothing behind. Published
 * directories are checked out below `cacheDir`. They never change, so one that is there and verifies is used without asking the store, outages included.
 */
export function createS3ArtifactStore(options: { cacheDir: string }, { objects }: { objects: Objects }): ArtifactStore {
  return {
    async put(bytes, { signal } = {}) {
      signal?.throwIfAborted();
      const digest = digestOf(bytes);
      return { status: await storeVerified(objects, { key: keyOf("objects", digest), digest }, bytes, signal), digest };
    },
    async get(digest, { signal } = {}) {
      requireDigest(digest);
      return readVerified(objects, { key: keyOf("objects", digest), digest }, signal);
    },
    async publish(name, files, { signal } = {}) {
      requireName(name, files.keys());
      signal?.throwIfAborted();
      const marker = markerOf(files);
      const digest = markerDigest(marker);
      // Asked first: a publish that is repeated after a crash would send everything again.
      const before = await readMarker(objects, name, signal);
      if (before === null) {
        await storeFiles(objects, marker, files, signal);
        const status = await objects.create(markerKey(name), seal(marker), { signal });
        if (status === "created") return { status, digest };
      }
      const existing = before ?? (await readMarker(objects, name, signal));
      if (existing === null || markerDigest(existing) !== digest) throw nightshiftError("artifact_exists", { name });
      return { status: "exists", digest };
    },
    async checkout(name, { signal } = {}) {
      requireName(name, []);
      const directory = join(options.cacheDir, "named", flatName(name));
      const cached = await readCached(name, directory, signal);
      if (cached !== null) return { directory, digest: markerDigest(cached) };
      const marker = await readMarker(objects, name, signal);
      if (marker === null) return null;
      const aside = join(options.cacheDir, "staging", randomUUID());
      await writePublished(name, { path: directory, aside }, marker, download(objects, name, marker, signal));
      await verifyPublished(name, directory, marker, signal);
      return { directory, digest: markerDigest(marker) };
    },
    async delete(digest, { signal } = {}) {
      requireDigest(digest);
      await objects.remove(keyOf("objects", digest), { signal });
    },
  };
}

function keyOf(space: "objects" | "files", digest: string): string {
  return `${space}/${digest.slice(7, 9)}/${digest.slice(7)}`;
}

function markerKey(name: string): string {
  return `named/${flatName(name)}.json`;
}

async function storeFiles(objects: Objects, marker: Marker, files: ReadonlyMap<string, Uint8Array>, signal: Signal): Promise<void> {
  const waiting = [...files];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [file, bytes] = next;
      const digest = marker.files[file]?.digest ?? digestOf(bytes);
      await storeVerified(objects, { key: keyOf("files", digest), digest }, bytes, signal);
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, lane));
}

async function readMarker(objects: Objects, name: string, signal: Signal): Promise<Marker | null> {
  const bytes = await objects.get(markerKey(name), { signal, maxBytes: MAX_MARKER_BYTES });
  return bytes === null ? null : unseal(name, bytes);
}

/** In the bucket a list carries its own digest: one flipped byte in a file's name would otherwise pass. */
function seal(marker: Marker): Uint8Array {
  return Buffer.from(JSON.stringify({ digest: markerDigest(marker), list: encodeMarker(marker) }));
}

function unseal(name: string, bytes: Uint8Array): Marker {
  const sealed = sealedSchema.safeParse(parseJson(bytes));
  if (!sealed.success) throw nightshiftError("artifact_corrupt", { what: name, problem: "its list of files cannot be read" });
  const marker = parseMarker(name, sealed.data.list);
  if (markerDigest(marker) === sealed.data.digest) return marker;
  throw nightshiftError("artifact_corrupt", { what: name, problem: "its list of files does not match its digest" });
}

async function* download(objects: Objects, name: string, marker: Marker, signal: Signal): AsyncGenerator<readonly [string, Uint8Array]> {
  for (const [file, { digest, bytes: maxBytes }] of Object.entries(marker.files)) {
    const bytes = await readVerified(objects, { key: keyOf("files", digest), digest, maxBytes }, signal);
    if (bytes === null) throw nightshiftError("artifact_corrupt", { what: name, problem: `${file} is missing` });
    yield [file, bytes];
  }
}

/** A copy that verifies. One that does not is thrown away: the store has the original. */
async function readCached(name: string, directory: string, signal: Signal): Promise<Marker | null> {
  try {
    const marker = await readPublished(name, directory);
    if (marker !== null) {
      await verifyPublished(name, directory, marker, signal);
      return marker;
    }
  } catch (error) {
    if (!(error instanceof NightshiftError) || error.code !== "artifact_corrupt") throw error;
  }
  await rm(directory, { recursive: true, force: true });
  return null;
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8")) as unknown;
  } catch {
    return null;
  }
}

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../artifact/artifact-store.ts";
import { digestOf, isDigest } from "../artifact/digest.ts";
import type { Objects } from "../artifact/objects.ts";
import { readVerified, storeVerified } from "../artifact/verified-object.ts";
import { nightshiftError } from "../errors.ts";
import { MANIFEST_FILE, parseHandOver, readHandOver } from "./hand-over.ts";

type Signal = AbortSignal | undefined;

/** Files with the manifest that lists them. */
export interface Entry {
  files: ReadonlyMap<string, Uint8Array>;
  manifest: Uint8Array;
}

/** Key of the digest of an entry's manifest, created last: without it the entry does not exist. */
const MARKER = "complete";
const MAX_MANIFEST_BYTES = 2 ** 20;

/** Where one file of an entry is: its digest is in the key, so that two writers never touch each other's bytes. */
const fileKey = (prefix: string, file: string, digest: string): string => `${prefix}${digest.slice("sha256:".length)}/${file}`;

/** Writes an entry below `prefix`, marker last. Repeating it sends only what is missing. @throws NightshiftError `artifact_exists` when another one is there */
export async function putEntry(objects: Objects, prefix: string, { files, manifest }: Entry, signal: Signal): Promise<void> {
  const digest = digestOf(manifest);
  for (const [file, bytes] of new Map([...files, [MANIFEST_FILE, manifest]])) {
    const own = digestOf(bytes);
    await storeVerified(objects, { key: fileKey(prefix, file, own), digest: own }, bytes, signal);
  }
  const key = prefix + MARKER;
  if ((await objects.create(key, Buffer.from(digest), { signal })) === "created") return;
  if ((await readMarker(objects, prefix, signal)) !== digest) throw nightshiftError("artifact_exists", { name: prefix.slice(0, -1) });
}

/** An entry, every byte verified; null where its marker is not there yet. @throws NightshiftError `artifact_corrupt` */
export async function getEntry(objects: Objects, prefix: string, signal: Signal): Promise<Entry | null> {
  const digest = await readMarker(objects, prefix, signal);
  if (digest === null) return null;
  const read = async (file: string, of: Digest, maxBytes: number): Promise<Uint8Array> => {
    const key = fileKey(prefix, file, of);
    const bytes = await readVerified(objects, { key, digest: of, maxBytes }, signal);
    if (bytes === null) throw nightshiftError("artifact_corrupt", { what: key, problem: "it is missing" });
    return bytes;
  };
  const manifest = await read(MANIFEST_FILE, digest, MAX_MANIFEST_BYTES);
  const listed = parseHandOver(manifest);
  if (listed === null) throw nightshiftError("artifact_corrupt", { what: prefix, problem: `its ${MANIFEST_FILE} lists no files` });
  const files = new Map<string, Uint8Array>();
  for (const [file, { digest: own, bytes }] of listed.files) files.set(file, await read(file, own, bytes));
  return { files, manifest };
}

/** The entries below `prefix` that are complete, by name. */
export async function listEntries(objects: Objects, prefix: string, signal: Signal): Promise<string[]> {
  const keys = await objects.list(prefix, { signal });
  return keys.filter((key) => key.endsWith(`/${MARKER}`)).map((key) => key.slice(prefix.length, -MARKER.length - 1));
}

/** Takes an entry away, marker first: what a crash in between leaves is not complete. */
export async function removeEntry(objects: Objects, prefix: string, signal: Signal): Promise<void> {
  await objects.remove(prefix + MARKER, { signal });
  for (const key of await objects.list(prefix, { signal })) await objects.remove(key, { signal });
}

/** A directory that was handed over, if all of it is there and matches its manifest; null while it is not. */
export async function readDirectory(directory: string): Promise<Entry | null> {
  const found = await readHandOver(directory);
  if (found === null) return null;
  const files = new Map<string, Uint8Array>();
  for (const [file, { digest }] of found.files) {
    // It may be replaced or deleted while it is read: the next pass sees what came of it.
    const bytes = await readFile(join(directory, file)).catch(() => null);
    if (bytes === null || digestOf(bytes) !== digest) return null;
    files.set(file, bytes);
  }
  return { files, manifest: found.manifest };
}

async function readMarker(objects: Objects, prefix: string, signal: Signal): Promise<Digest | null> {
  const bytes = await objects.get(prefix + MARKER, { signal, maxBytes: 100 });
  if (bytes === null) return null;
  const digest = Buffer.from(bytes).toString("utf8");
  if (!isDigest(digest)) throw nightshiftError("artifact_corrupt", { what: prefix + MARKER, problem: "it is no digest" });
  return digest;
}

import { constants } from "node:fs";
import { type FileHandle, open, readlink, realpath, stat } from "node:fs/promises";
import { sep } from "node:path";
import { fileURLToPath } from "node:url";
import { redactText, Unredactable } from "../trace/redact.ts";
import type { ReferenceReader } from "./references.ts";

export interface ReferenceFiles {
  /** `file:` URLs of directories by tenant; what lies elsewhere is not read. */
  prefixesOf: (tenant: string) => readonly string[];
  keyOf: (tenant: string) => Uint8Array;
  maxBytes: number;
}

/** Not there, or not ours to read: no repetition changes that. */
const GONE: ReadonlySet<string> = new Set([
  "ENOENT",
  "ENOTDIR",
  "EISDIR",
  "EACCES",
  "EPERM",
  "ELOOP",
  "ENAMETOOLONG",
  "ERR_INVALID_ARG_VALUE",
]);

/**
 * References to files. An address comes with telemetry, from anybody who may send some: only what really lies below a prefix is opened, symbolic links followed first, and read only if it lies there
 * once it is open, since somebody may change a directory in between. What is read is redacted with the tenant's key, since no collector has seen it.
 */
export function createReferenceFiles({ prefixesOf, keyOf, maxBytes }: ReferenceFiles): ReferenceReader {
  return {
    async read(tenant, address) {
      const prefixes = prefixesOf(tenant);
      const path = prefixes.length === 0 ? null : pathOf(address);
      if (path === null) return null;
      try {
        const real = await realpath(path);
        const allowed = await Promise.all(prefixes.map((prefix) => realpath(fileURLToPath(prefix)).catch(() => null)));
        const isAllowed = (place: string) =>
          allowed.some((directory) => directory !== null && place.startsWith(directory.endsWith(sep) ? directory : directory + sep));
        if (!isAllowed(real)) return null;
        const text = await readText(real, { isAllowed, maxBytes });
        return text === null ? null : await redactText(asOneValue(text), keyOf(tenant));
      } catch (error) {
        if (error instanceof Unredactable || GONE.has((error as NodeJS.ErrnoException).code ?? "")) return null;
        throw error;
      }
    },
  };
}

/** The path of a `file:` URL of this machine, or of a plain absolute path, as fsspec writes local ones; null for every other address. */
function pathOf(address: string): string | null {
  if (address.startsWith("/") && !address.startsWith("//")) return address;
  const url = URL.parse(address);
  if (url === null || url.protocol !== "file:" || url.host !== "") return null;
  try {
    return fileURLToPath(url);
  } catch {
    return null;
  }
}

async function readText(path: string, { isAllowed, maxBytes }: { isAllowed: (place: string) => boolean; maxBytes: number }) {
  // Neither through a link nor waiting on a pipe that somebody put there meanwhile.
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const place = await placeOf(handle, path);
    if (place === null || !isAllowed(place)) return null;
    const about = await handle.stat();
    if (!about.isFile() || about.size > maxBytes) return null;
    const bytes = await readAtMost(handle, maxBytes);
    return bytes === null ? null : new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  } finally {
    await handle.close();
  }
}

/** Where an opened file really lies, whatever its path leads to by now; null when nobody can say. */
async function placeOf(handle: FileHandle, path: string): Promise<string | null> {
  const told = await readlink(`/proc/self/fd/${handle.fd}`).catch(() => null);
  if (told !== null) return told;
  // Only Linux tells. Elsewhere a path that leads to this very file is its place.
  const place = await realpath(path);
  const [there, opened] = await Promise.all([stat(place, { bigint: true }), handle.stat({ bigint: true })]);
  return there.dev === opened.dev && there.ino === opened.ino ? place : null;
}

/** Null for more: a file may grow while it is read. */
async function readAtMost(handle: FileHandle, maxBytes: number): Promise<Uint8Array | null> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of handle.createReadStream({ end: maxBytes, autoClose: false }) as AsyncIterable<Uint8Array>) {
    chunks.push(chunk);
    size += chunk.length;
  }
  return size > maxBytes ? null : Buffer.concat(chunks);
}

/** The hook writes JSON, or one message per line. */
function asOneValue(text: string): string {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.length > 1 && lines.every(isJson) ? `[${lines.join(",")}]` : text;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
